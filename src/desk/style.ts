import { createHash } from 'node:crypto'

const STYLE = `:root{color-scheme:light dark;--line:#8a8a8a66;--soft:#8a8a8a24;--bad:#b3261e;--good:#1b6e20;--wait:#7a4d00;--link:#0b57d0}
@media (prefers-color-scheme:dark){:root{--bad:#ff8a80;--good:#81c784;--wait:#ffca28;--link:#8ab4f8}}
*{box-sizing:border-box}
body{font:16px/1.45 system-ui,sans-serif;max-width:760px;margin:0 auto;padding:0 16px 16px;overflow-wrap:anywhere}
a{color:var(--link)}
nav{display:flex;flex-wrap:wrap;gap:0 11px;font-size:15px;padding:8px 0;border-bottom:1px solid var(--line)}
nav a{padding:10px 0;text-decoration:none}nav a[aria-current]{font-weight:700;border-bottom:3px solid}
h1{font-size:28px;line-height:1.2;margin:16px 0 0}h2{font-size:18px;margin:24px 0 4px}
p{margin:8px 0}.big{font-size:20px;margin:0 0 12px}
.soft,dt{opacity:.75}small{font-size:13px}
.fraud{color:var(--bad)}.legit{color:var(--good)}.unsure{color:var(--wait)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 14px;margin:12px 0}dd{margin:0}
ul{list-style:none;margin:8px 0;padding:0}
li{display:flex;gap:12px;align-items:center;border-top:1px solid var(--line);padding:10px 0}
li>div{flex:1;min-width:0}li>div>*{display:block}li a{text-decoration:none;padding:2px 0}li b{font-size:18px}
li.this{background:var(--soft);padding-left:8px;padding-right:8px}
input[type=checkbox]{width:24px;height:24px;flex:none}
meter{width:72px;height:10px;vertical-align:middle}
.say{position:sticky;bottom:0;background:Canvas;padding:10px 0;border-top:1px solid var(--line)}
.row{display:flex;gap:8px}.row>*{flex:1}
button,.button{font:inherit;font-weight:600;min-height:48px;padding:8px 6px;overflow-wrap:normal;border:0;border-radius:8px;color:#fff;background:#4a4f55;cursor:pointer;text-align:center;text-decoration:none;display:inline-flex;align-items:center;justify-content:center}
button.fraud{background:#b3261e;color:#fff}button.legit{background:#1b6e20;color:#fff}button.unsure{color:#fff}
button.plain{background:none;color:var(--link);text-decoration:underline;padding:8px}
textarea,input:not([type=checkbox]){font:inherit;width:100%;padding:11px;border:1px solid #8a8a8a;border-radius:8px;background:Canvas;color:CanvasText}
label{display:block;margin:0 0 8px}
.told{background:var(--soft);border-left:5px solid;padding:8px 12px;margin:12px 0;display:flex;gap:8px;align-items:center;justify-content:space-between;flex-wrap:wrap}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
figure{margin:16px 0}figcaption{font-weight:600}svg{width:100%;max-width:600px;height:auto;display:block}
.axis,text.axis{fill:currentColor;stroke:none;font-size:12px;opacity:.8}.axis path{stroke:currentColor;opacity:.3}
rect.fraud{fill:var(--bad)}rect.legit{fill:var(--good)}.line,.mark{fill:none;stroke:var(--link);stroke-width:2}.mark{stroke:currentColor;stroke-dasharray:4 3}
table{border-collapse:collapse;font-size:14px}th,td{text-align:right;padding:2px 12px 2px 0;font-weight:400}
kbd{font:13px monospace;border:1px solid;border-radius:4px;padding:0 4px;margin-left:6px}
@media (hover:none),(max-width:500px){kbd{display:none}}
@media print{form,nav,details{display:none}}`

/** One key is one tap on what bears it; none while somebody writes. */
const SCRIPT = `addEventListener('keydown',(e)=>{
if(e.ctrlKey||e.metaKey||e.altKey||e.repeat)return
const at=e.target,writes=at.tagName==='TEXTAREA'||(at.tagName==='INPUT'&&at.type!=='checkbox')
if(writes){if(e.key==='Escape')at.blur();return}
const of=document.querySelector('[data-key="'+CSS.escape(e.key)+'"]')
if(!of)return
e.preventDefault()
if(/^(TEXTAREA|INPUT)$/.test(of.tagName))of.focus();else of.click()})`

const hashOf = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
export const SHEET = { style: STYLE, script: SCRIPT }
export const HEADERS = {
  contentSecurityPolicy: {
    defaultSrc: ["'none'"],
    styleSrc: [hashOf(STYLE)],
    scriptSrc: [hashOf(SCRIPT)],
    baseUri: ["'none'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
  },
  referrerPolicy: 'same-origin', // with none at all a browser would not say whose page a form is of
  strictTransportSecurity: false, // is for whoever puts TLS before it to say
}
