// What page.js draws with.
export { plot, dot, line, cell, text, link, ruleX, ruleY, axisX, axisY } from "@observablehq/plot";
