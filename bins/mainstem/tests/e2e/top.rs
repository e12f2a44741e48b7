//! The live view in a terminal.

use std::process::Command;

use crate::support::mainstem;

/// Runs a program in a terminal of its own, closes that once something was drawn, and waits for the program's end.
const IN_A_TERMINAL: &str = r"
import fcntl, os, pty, struct, sys, termios, time
child, terminal = pty.fork()
if child == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
    os.execv(sys.argv[1], sys.argv[1:])
while b'127.0.0.1' not in os.read(terminal, 65536):
    pass
os.close(terminal)
for _ in range(300):
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        sys.exit(0)
    time.sleep(0.1)
os.kill(child, 9)
sys.exit('it still runs')
";

#[test]
fn a_terminal_that_has_gone_ends_it() {
    let mut python = Command::new("python3");
    python.args(["-c", IN_A_TERMINAL]).arg(mainstem().get_program());
    let output = python.args(["top", "--node", "http://127.0.0.1:9"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
