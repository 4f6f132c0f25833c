// One message from stdin, decoded COUNT times as Zoom's JavaScript sample does it: no socket.
import fs from "node:fs";

const text = fs.readFileSync(0);
const decode = () => Buffer.from(JSON.parse(text).content.data, "base64").length;
for (let i = 0; i < 500; i++) decode(); // compiled by then
const begin = process.cpuUsage();
for (let i = 0; i < Number(process.argv[2]); i++) decode();
const used = process.cpuUsage(begin);
console.log(JSON.stringify({ cpu_s: (used.user + used.system) / 1e6 }));
