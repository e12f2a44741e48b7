//! The page that shows a whole profile: stages, their functions, their flame graphs.

use std::fmt::Write;

use super::flame::escaped;
use super::folded::shortened;
use super::{Run, TOP};

pub(super) fn html(run: &Run) -> String {
    let mut page = String::new();
    let mut put = |text: &str| writeln!(page, "{text}").expect("a string takes all");
    put(HEAD);
    put(&format!("<h1>Profile of a main chain's node</h1>\n<p>{}</p>", escaped(&run.headline())));
    for note in run.notes() {
        put(&format!("<p class=\"note\">{}</p>", escaped(&note)));
    }

    put("<h2>Stages</h2>\n<div class=\"wide\"><table>");
    put("<tr><th>stage</th><th>processor, ns a side block</th><th>of all</th><th>of the samples</th>\
         <th>allocations a side block</th><th>a main block</th><th>bytes a main block</th></tr>");
    for row in run.stages() {
        let nanos = row.nanos.map_or("-".into(), |nanos| format!("{nanos:.1}"));
        let share = row.share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
        put(&format!(
            "<tr><td><a href=\"#{name}\">{name}</a></td><td>{nanos}</td><td>{share}</td><td>{:.1} %</td><td>{:.5}</td>\
             <td>{:.2}</td><td>{:.0}</td></tr>",
            100.0 * row.sampled,
            row.allocations_side,
            row.allocations_main,
            row.bytes_main,
            name = row.stage.name()
        ));
    }
    put("</table></div>");

    for (name, graph) in run.graphs() {
        put(&format!("<h2 id=\"{name}\">{}</h2>", if name == "all" { "All stages" } else { name }));
        put(&format!(
            "<p><a href=\"{name}.svg\">{name}.svg</a> <a href=\"{name}.folded\">{name}.folded</a></p>"
        ));
        let folded = graph.folded;
        if folded.samples() == 0 {
            put("<p class=\"note\">No samples.</p>");
            continue;
        }
        put(
            "<div class=\"wide\"><table><tr><th>itself</th><th>with what it calls</th><th>function</th></tr>",
        );
        for top in folded.top(2 * TOP) {
            let of = |count: u64| 100.0 * count as f64 / folded.samples() as f64;
            put(&format!(
                "<tr><td>{:.1} %</td><td>{:.1} %</td><td class=\"name\" title=\"{}\">{}</td></tr>",
                of(top.own),
                of(top.total),
                escaped(&top.name),
                escaped(&shortened(&top.name, 110))
            ));
        }
        put("</table></div>");
        put(&format!(
            "<div class=\"wide\"><object type=\"image/svg+xml\" data=\"{name}.svg\">{name}.svg</object></div>"
        ));
    }
    put("</main>\n</body>\n</html>");
    page
}

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mainstem profile</title>
<style>
:root { color-scheme: light; }
body { margin: 0; background: #fdfcfa; color: #1c1917; font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 24px; margin: 0 0 8px; }
h2 { font-size: 18px; margin: 36px 0 8px; }
p { margin: 4px 0; }
.note { color: #57534e; }
.wide { overflow-x: auto; margin: 10px 0; }
table { border-collapse: collapse; }
th, td { padding: 3px 14px 3px 0; text-align: right; font-variant-numeric: tabular-nums; vertical-align: top; }
th { color: #57534e; font-weight: 500; border-bottom: 1px solid #d6d3d1; }
th:first-child, td:first-child, th:last-child, .name { text-align: left; }
td:first-child { min-width: 56px; }
.name { font: 13px/1.6 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
object { display: block; border: 1px solid #e7e5e4; border-radius: 4px; }
a { color: #9a3412; }
</style>
</head>
<body>
<main>"#;
