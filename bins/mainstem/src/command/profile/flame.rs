//! Flame graphs: each function a bar as wide as its share of the samples, on top of the one that called it. One SVG that
//! needs nothing else; a browser zooms and searches in it.

use std::fmt::Write;

use super::folded::{Folded, Node, shortened};
use super::stage::Stage;

/// A flame graph of these stacks.
pub(super) fn svg(title: &str, folded: &Folded) -> String {
    let mut bars = Vec::new();
    collect(folded.root(), 0, 0, folded.samples(), &mut bars);
    let depth = bars.iter().map(|bar| bar.depth + 1).max().unwrap_or(1);
    let height = HEAD + depth * ROW + FOOT;
    let mut svg = String::new();
    let out = &mut svg;
    let samples = folded.samples();
    let total = if samples == 0 {
        "no samples: nothing to be seen of this stage".to_owned()
    } else {
        format!("{samples} samples")
    };
    line(
        out,
        &format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">"#
        ),
    );
    line(out, STYLE);
    line(out, r#"<rect class="paper" width="100%" height="100%"/>"#);
    line(out, &format!(r#"<text class="title" x="{MARGIN}" y="26">{}</text>"#, escaped(title)));
    line(out, &format!(r#"<text class="small" x="{MARGIN}" y="46">{total}</text>"#));
    legend(out);
    for bar in &bars {
        bar.draw(out, samples, height - FOOT);
    }
    let below = height - FOOT + 24;
    line(out, &format!(r#"<text class="small" id="detail" x="{MARGIN}" y="{below}"> </text>"#));
    let right = WIDTH - MARGIN;
    line(out, &format!(r#"<text class="small end" id="found" x="{right}" y="{below}"> </text>"#));
    line(
        out,
        &format!(
            "<script><![CDATA[\nconst samples = {samples}, width = {}, margin = {MARGIN};",
            WIDTH - 2 * MARGIN
        ),
    );
    line(out, SCRIPT);
    line(out, "]]></script>\n</svg>");
    svg
}

const WIDTH: usize = 1200;
const MARGIN: usize = 10;
const ROW: usize = 17;
const HEAD: usize = 62;
const FOOT: usize = 36;

/// Narrower bars are left out, in pixels.
const NARROWEST: f64 = 0.2;

/// Of a character at the font's size, in pixels.
const CHARACTER: f64 = 7.3;

struct Bar<'a> {
    name: &'a str,
    /// Samples to the left of it.
    left: u64,
    total: u64,
    own: u64,
    depth: usize,
}

fn collect<'a>(node: &'a Node, mut left: u64, depth: usize, samples: u64, bars: &mut Vec<Bar<'a>>) {
    for (name, callee) in &node.callees {
        if pixels(callee.total, samples) >= NARROWEST {
            bars.push(Bar { name, left, total: callee.total, own: callee.own, depth });
            collect(callee, left, depth + 1, samples, bars);
        }
        left += callee.total;
    }
}

fn pixels(count: u64, samples: u64) -> f64 {
    count as f64 / samples.max(1) as f64 * (WIDTH - 2 * MARGIN) as f64
}

impl Bar<'_> {
    fn draw(&self, out: &mut String, samples: u64, bottom: usize) {
        let Self { name, left, total, own, depth } = *self;
        let (x, width) = (MARGIN as f64 + pixels(left, samples), pixels(total, samples));
        let y = bottom - (depth + 1) * ROW;
        let of = |count: u64| 100.0 * count as f64 / samples.max(1) as f64;
        let short = shortened(name, usize::MAX);
        line(out, &format!(r#"<g class="bar" data-x="{left}" data-w="{total}" data-d="{depth}">"#));
        let detail = format!("{name}: {total} samples, {:.2} %, itself {:.2} %", of(total), of(own));
        line(out, &format!("<title>{}</title>", escaped(&detail)));
        let (kind, bar_height) = (Kind::of(name), ROW - 1);
        let shade = kind.shade(name);
        line(
            out,
            &format!(
                r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="{bar_height}" rx="1" fill="{shade}"/>"#
            ),
        );
        let room = usize::try_from(((width - 6.0) / CHARACTER) as i64).unwrap_or(0);
        let (text_x, text_y) = (x + 3.0, y + 12);
        line(
            out,
            &format!(
                r#"<text x="{text_x:.1}" y="{text_y}" data-name="{}">{}</text></g>"#,
                escaped(&short),
                escaped(&fitted(&short, room))
            ),
        );
    }
}

/// As much of a name as there is room for. Its end tells most.
fn fitted(name: &str, room: usize) -> String {
    if room < 3 { String::new() } else { shortened(name, room) }
}

/// Whose function it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// This workspace's.
    Own,
    /// QUIC and its cryptography.
    Quic,
    /// Other Rust.
    Rust,
    /// The C library and the system calls in it, assembly, what has no name.
    System,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Own, Self::Quic, Self::Rust, Self::System];

    fn of(name: &str) -> Self {
        let path = name.trim_start_matches(['<', '&']);
        if path.starts_with("mainstem") {
            Self::Own
        } else if ["quinn", "rustls", "ring"].iter().any(|prefix| path.starts_with(prefix)) {
            Self::Quic
        } else if path.contains("::") {
            // Such as a rayon job of our closure.
            if path.starts_with("rayon") || !path.contains("mainstem") { Self::Rust } else { Self::Own }
        } else if Stage::ALL.iter().any(|stage| stage.name() == name) {
            // What the graph of all stages stands on.
            Self::Own
        } else {
            Self::System
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Own => "mainstem",
            Self::Quic => "QUIC and TLS",
            Self::Rust => "other Rust",
            Self::System => "C, assembly, system calls",
        }
    }

    /// A colour of the kind, the same for the same name.
    fn shade(self, name: &str) -> String {
        let hash = name.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
        let hue = match self {
            Self::Own => 24,
            Self::Quic => 208,
            Self::Rust => 48,
            Self::System => 150,
        };
        format!("hsl({},{}%,{}%)", hue + hash % 12, 55 + hash / 16 % 20, 66 + hash / 512 % 10)
    }
}

fn legend(out: &mut String) {
    let mut x = WIDTH - MARGIN;
    for kind in Kind::ALL.into_iter().rev() {
        x -= 8 * kind.label().len() + 30;
        let shade = kind.shade("");
        line(out, &format!(r#"<rect x="{x}" y="36" width="12" height="12" rx="2" fill="{shade}"/>"#));
        line(out, &format!(r#"<text class="small" x="{}" y="46">{}</text>"#, x + 17, kind.label()));
    }
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("a string takes all");
}

/// For text and attributes of XML and HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = r#"<style>
text { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1c1917; }
.paper { fill: #fdfcfa; }
.title { font: 600 17px system-ui, "DejaVu Sans", sans-serif; }
.small { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #57534e; }
.end { text-anchor: end; }
.bar { cursor: pointer; }
.bar text { pointer-events: none; }
.bar:hover rect { stroke: #1c1917; stroke-width: 1; }
.bar.above rect { opacity: 0.45; }
.bar.hit rect { fill: #c026d3; }
</style>"#;

/// A click on a bar makes it as wide as the graph, one on the paper puts everything back; `/` or Ctrl-F searches.
const SCRIPT: &str = r#"const bars = [...document.querySelectorAll(".bar")].map(g => ({
  g, x: +g.dataset.x, w: +g.dataset.w, d: +g.dataset.d,
  rect: g.querySelector("rect"), text: g.querySelector("text"), title: g.querySelector("title").textContent,
}));
const detail = document.getElementById("detail"), found = document.getElementById("found");
const usual = "click: zoom; click beside the bars: back; / or Ctrl-F: search";
function zoom(to) {
  const left = to ? to.x : 0, all = to ? to.w : samples, depth = to ? to.d : 0;
  for (const b of bars) {
    const above = to && b.d < depth && b.x <= left && b.x + b.w >= left + all;
    const inside = b.x >= left && b.x + b.w <= left + all && (!to || b.d >= depth);
    b.g.style.display = above || inside ? "" : "none";
    b.g.classList.toggle("above", !!above);
    const x = above ? margin : margin + (b.x - left) / all * width, w = above ? width : b.w / all * width;
    b.rect.setAttribute("x", x);
    b.rect.setAttribute("width", Math.max(w, 0.2));
    b.text.setAttribute("x", x + 3);
    const name = b.text.dataset.name, room = Math.floor((w - 6) / 7.3);
    b.text.textContent = room < 3 ? "" : name.length <= room ? name : ".." + name.slice(name.length + 2 - room);
  }
}
function search() {
  const wanted = prompt("Part of a name (a regular expression); nothing clears the marks") || "";
  let pattern = null;
  try { pattern = wanted && new RegExp(wanted, "i"); } catch (error) { found.textContent = error.message; return; }
  let sum = 0, end = -1;
  for (const b of bars) {
    const hit = pattern && pattern.test(b.text.dataset.name);
    b.g.classList.toggle("hit", !!hit);
    // Bars come from the left to the right and from below: what lies above a counted one is in it.
    if (hit && b.x >= end) { sum += b.w; end = b.x + b.w; }
  }
  found.textContent = pattern ? wanted + ": " + (100 * sum / samples).toFixed(1) + " %" : "";
}
for (const b of bars) {
  b.g.addEventListener("click", event => { zoom(b); event.stopPropagation(); });
  b.g.addEventListener("mouseenter", () => detail.textContent = b.title);
  b.g.addEventListener("mouseleave", () => detail.textContent = usual);
}
detail.textContent = usual;
document.documentElement.addEventListener("click", () => zoom(null));
addEventListener("keydown", event => {
  if (event.key === "/" || (event.ctrlKey && event.key === "f")) { event.preventDefault(); search(); }
});"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_has_a_bar_for_each_function_that_can_be_seen() {
        let mut folded = Folded::default();
        folded.add(["mainstem_engine::run", "memcpy<&>"].into_iter(), 10_000);
        folded.add(["quinn_proto::rare"].into_iter(), 1);
        let svg = svg("seal: a & b", &folded);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(svg.contains("seal: a &amp; b"));
        assert_eq!(svg.matches(r#"class="bar""#).count(), 2, "the third is a tenth of a pixel wide");
        assert!(svg.contains("memcpy&lt;&amp;&gt;: 10000 samples, 99.99 %, itself 99.99 %"), "{svg}");
    }

    #[test]
    fn a_graph_of_nothing_says_so() {
        assert!(svg("api", &Folded::default()).contains("no samples"));
    }

    #[test]
    fn functions_are_told_apart_by_whose_they_are() {
        assert_eq!(Kind::of("mainstem_engine::pipeline::seal::Sealer::seal"), Kind::Own);
        assert_eq!(Kind::of("<mainstem_net::frame::Frame as core::fmt::Debug>::fmt"), Kind::Own);
        assert_eq!(Kind::of("<quinn_proto::connection::Connection>::poll"), Kind::Quic);
        assert_eq!(Kind::of("std::thread::park"), Kind::Rust);
        assert_eq!(Kind::of("__memmove_avx_unaligned"), Kind::System);
    }
}
