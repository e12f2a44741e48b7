// The picture of the dashboard that README.md shows: the overview of a node that has run for a minute.
//
// Made by hand, with the variables that `cargo xtask browser` sets, then made small by a palette:
//   MAINSTEM_SHOTS=. node picture.mjs && pngquant --force --output dashboard.png dashboard.png

import { DESK, browser, node, open, shot, until } from "./support.mjs";

const [main, chrome] = await Promise.all([node("--chains", "24", "--rate", "20"), browser()]);
try {
  const page = await open(chrome.opened, main.url, "#/", { view: DESK, scheme: "dark" });
  // The charts begin with the node: a minute of them is to be seen.
  const ran = async () => (await (await fetch(`${main.url}/v1/stats`)).json()).uptime_ms;
  while (await ran() < 60_000) await new Promise((resolve) => setTimeout(resolve, 1_000));
  await until(page, "its figures", () => document.querySelectorAll(".stages li").length >= 4 && document.querySelector("#link").dataset.state === "live");
  await shot(page, "dashboard");
} finally {
  await chrome.stop();
  await main.stop();
}
