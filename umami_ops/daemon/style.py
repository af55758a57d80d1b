"""How the page looks: quiet colours in the light and in the dark, one column on a phone."""

STYLE = """
:root{--paper:#f6f6f3;--card:#fff;--ink:#22252a;--faint:#646973;--line:#e6e5e0;--good:#3b8f64;--bad:#c2504a;
--warn:#b07d22;--info:#4a7fb5;--main:#3f6fa8;--soft:#9dbbdc;--shade:rgba(63,111,168,.12)}
@media (prefers-color-scheme:dark){:root{--paper:#15171a;--card:#1d2024;--ink:#e4e6e8;--faint:#9298a1;
--line:#2c3036;
--good:#63b98b;--bad:#e57f78;--warn:#d9a94f;--info:#7faedc;--main:#7faedc;--soft:#3f638a;
--shade:rgba(127,174,220,.14)}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%;font-variant-numeric:tabular-nums}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.25rem 3rem}
h1,h2,h3,p,ul,ol,dl,dd,figure{margin:0;padding:0}
code{font:.86em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
code span{display:inline-block;max-width:100%}
.faint{color:var(--faint)}
header{margin-bottom:2.5rem}
header .where{color:var(--faint);font-size:.9rem;margin-bottom:.35rem}
h1{font-size:2rem;line-height:1.2;font-weight:600;letter-spacing:-.015em;margin-bottom:.4rem}
h1 i{display:inline-block;width:.62em;height:.62em;border-radius:50%;margin-right:.45em;
background:var(--good)}
.bad h1 i{background:var(--bad)}.waits h1 i{background:var(--warn)}
header ul{list-style:none;margin-top:.9rem}
header li{padding:.55rem .85rem;margin-top:.4rem;border-left:3px solid var(--bad);background:var(--card);
border-radius:0 .4rem .4rem 0;overflow-wrap:anywhere}
section{margin-top:2.25rem}
h2{font-size:.8rem;font-weight:600;letter-spacing:.07em;text-transform:uppercase;color:var(--faint);
margin-bottom:.6rem}
.card{background:var(--card);border:1px solid var(--line);border-radius:.7rem;padding:1.1rem 1.25rem}
.jobs{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,18rem),1fr));gap:.9rem}
h3{font-size:1.05rem;font-weight:600}
.when{color:var(--faint);font-size:.92rem}
.badge{font-size:.75rem;font-weight:500;padding:.1rem .5rem;border-radius:1rem;margin-left:.35rem;
vertical-align:.1em;
background:var(--shade);color:var(--main)}
.badge.overdue{color:var(--bad)}
dl{display:grid;grid-template-columns:4.2rem 1fr;margin-top:.7rem;font-size:.95rem}
dt{color:var(--faint)}
.sign{display:inline-block;min-width:1.1em;font-weight:600}
.sign.success{color:var(--good)}.sign.failure{color:var(--bad)}
.sign.unfinished,.sign.interrupted{color:var(--warn)}
.sign.running{color:var(--main)}
.reason{color:var(--bad);font-size:.9rem;margin-top:.5rem;overflow-wrap:anywhere}
td .reason{margin-top:.1rem;max-width:34rem}
.bars{display:flex;gap:3px;margin:.85rem 0 .75rem;height:1.15rem}
.bars:empty{height:0;margin:.75rem 0 0}
.bars i{flex:1 1 0;max-width:.5rem;border-radius:2px;background:var(--line)}
.bars .success{background:var(--good);opacity:.75}.bars .failure{background:var(--bad)}
.bars .unfinished,.bars .interrupted{background:var(--warn)}.bars .running{background:var(--main)}
.steps{list-style:none;color:var(--faint);font-size:.92rem;border-top:1px solid var(--line);
padding-top:.6rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.5rem,1fr));gap:1rem;margin-bottom:1.4rem}
.tiles b{display:block;font-size:1.45rem;font-weight:600;letter-spacing:-.01em;line-height:1.25}
.tiles span{color:var(--faint);font-size:.88rem}
.plot{position:relative;height:13rem;border-bottom:1px solid var(--line)}
.plot svg{display:block;width:100%;height:100%;overflow:visible}
.plot *{vector-effect:non-scaling-stroke}
.grid{stroke:var(--line);stroke-width:1}
.area{fill:var(--shade)}
.past{fill:none;stroke:var(--main);stroke-width:2;stroke-linejoin:round}
.ahead{fill:none;stroke:var(--main);stroke-width:2;stroke-dasharray:2 5;stroke-linecap:round}
.level{stroke:var(--good);stroke-width:1.5;stroke-dasharray:7 5}
.plot .y{background:var(--card);position:absolute;left:0;line-height:1.2;margin-top:-1px;
transform:translateY(-100%);font-size:.75rem;color:var(--faint);
padding-right:.35rem}
.here{position:absolute;width:9px;height:9px;margin:-4.5px;border-radius:50%;background:var(--main);
box-shadow:0 0 0 3px var(--card)}
.x{position:relative;display:flex;justify-content:space-between;font-size:.78rem;color:var(--faint);
padding-top:.35rem}
.x .now{position:absolute;transform:translateX(-50%)}
figcaption{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.85rem;color:var(--faint);
margin:.7rem 0 .6rem}
.key::before{content:"";display:inline-block;width:1.3rem;border-top:2px solid var(--main);
margin-right:.45rem;
vertical-align:.27em}
.key.ahead{stroke:none}.key.ahead::before{border-top-style:dotted}
.key.level::before{border-top:2px dashed var(--good)}
.tables{border-top:1px solid var(--line);margin-top:1.1rem;padding-top:1rem;font-size:.92rem}
.table{display:grid;grid-template-columns:minmax(7rem,10rem) 1fr 4.5rem;align-items:center;gap:.8rem;
padding:.15rem 0}
.table .name{overflow:hidden;text-overflow:ellipsis}
.track{display:flex;height:.55rem;border-radius:1rem;overflow:hidden}
.track i{background:var(--main)}.track .index{background:var(--soft)}
.tables .faint{font-size:.85rem;margin-top:.4rem}
.dot{display:inline-block;width:.6rem;height:.6rem;border-radius:50%;background:var(--main);
margin-right:.15rem}
.dot.index{background:var(--soft);margin-left:.8rem}
.number{text-align:right;white-space:nowrap}
details{border-bottom:1px solid var(--line);padding:.55rem 0}
details:first-child{padding-top:0}
summary{cursor:pointer;list-style:none;display:grid;grid-template-columns:1.6rem 1fr;overflow-wrap:anywhere}
summary::-webkit-details-marker{display:none}
summary i{font-style:normal;font-weight:700}
.critical summary i{color:var(--bad)}.warning summary i{color:var(--warn)}.info summary i{color:var(--info)}
details p{margin:.35rem 0 .1rem 1.6rem;font-size:.92rem}
.findings>p{margin-top:.7rem;font-size:.92rem}.findings>p:only-child{margin-top:0}
.scroll{overflow-x:auto;padding:.4rem 0}
table{border-collapse:collapse;width:100%;font-size:.93rem}
th{font-weight:500;color:var(--faint);text-align:left;font-size:.85rem}
th,td{padding:.4rem .6rem;vertical-align:top}
th:first-child,td:first-child{padding-left:1.25rem;padding-right:.2rem;width:1.6rem}
th:last-child,td:last-child{padding-right:1.25rem}
td{border-top:1px solid var(--line)}
th.number{text-align:right}
td:nth-child(2){white-space:nowrap}
footer{margin-top:2.75rem;color:var(--faint);font-size:.85rem}
a{color:var(--main);text-decoration:none;margin-left:.4rem}a:hover{text-decoration:underline}
@media (max-width:40rem){main{padding:1.5rem 1rem 2.5rem}h1{font-size:1.6rem}.card{padding:1rem}
.card.scroll{padding:.3rem 0}.plot{height:10rem}.table{grid-template-columns:7.2rem 1fr 4rem;gap:.6rem}
.runs th:nth-child(n+5),.runs td:nth-child(n+5),.backups th:nth-child(3),
.backups td:nth-child(3){display:none}td:nth-child(2) .faint{display:block}
th,td{padding:.4rem}}
"""
