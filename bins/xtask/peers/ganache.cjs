#!/usr/bin/env node
// Starts ganache with the two habits of anvil that a test needs, and that ganache's own command line lacks:
// `--port 0` takes a free port (the command line refuses 0, the library does not), and the one line on stdout is
// `Listening on HOST:PORT`.
//
//   ganache [--host 127.0.0.1] [--port 0] [--SECTION.OPTION [VALUE]]...
//
// SECTION.OPTION are ganache's own, e.g. `--chain.chainId 7 --miner.blockTime 1 --wallet.deterministic`. An option
// without a value is true; integers and true/false are taken as such, anything else as text.
"use strict";

const ganache = require("../node_modules/ganache");

function fail(reason) {
  process.stderr.write(`ganache: ${reason}\n`);
  process.exit(1);
}

function value(text) {
  if (text === "true" || text === "false") return text === "true";
  return /^(0|[1-9][0-9]*)$/.test(text) ? Number(text) : text;
}

let host = "127.0.0.1";
let port = 0;
const options = { logging: { quiet: true } };
const args = process.argv.slice(2);
while (args.length > 0) {
  const flag = args.shift();
  if (!flag.startsWith("--")) fail(`${flag}: an option starts with --`);
  const given = args.length > 0 && !args[0].startsWith("--") ? value(args.shift()) : true;
  const [section, option, ...rest] = flag.slice(2).split(".");
  if (flag === "--host" && typeof given === "string") host = given;
  else if (flag === "--port" && Number.isInteger(given) && given < 65536) port = given;
  else if (option && rest.length === 0) (options[section] ??= {})[option] = given;
  else fail(`${flag} ${given}: expected --host TEXT, --port 0..65535 or --SECTION.OPTION VALUE`);
}

const server = ganache.server(options);
server.listen(port, host).then(
  () => process.stdout.write(`Listening on ${server.address().address}:${server.address().port}\n`),
  (reason) => fail(reason),
);
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, () => server.close().finally(() => process.exit(0)));
}
