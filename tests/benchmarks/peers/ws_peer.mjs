// Node's `ws`, decoding as Zoom's JavaScript sample does.
import fs from "node:fs";
import WebSocket from "ws";

const [url, countText, ca] = process.argv.slice(2);
const count = Number(countText);
const sampled = 5;
let ready = 0, closed = 0, messages = 0, dataBytes = 0, begin = null;
const ages = [];
const handshake = JSON.stringify({ msg_type: 3, protocol_version: 1, session_id: "s", rtms_stream_id: "r",
  signature: "0".repeat(64), media_type: 1, media_params: { audio: { content_type: 2, sample_rate: 1 } } });
const options = { perMessageDeflate: false, maxPayload: 0 };
if (ca) options.ca = fs.readFileSync(ca);

for (let number = 0; number < count; number++) {
  const socket = new WebSocket(`${url}/bare/${String(number).padStart(4, "0")}`, options);
  let isReady = false;
  socket.on("open", () => socket.send(handshake));
  socket.on("message", (raw) => {
    if (!isReady) {
      isReady = true;
      if (++ready === count) {
        begin = process.cpuUsage();
        console.log(JSON.stringify({ ready: true }));
      }
      return;
    }
    const data = Buffer.from(JSON.parse(raw).content.data, "base64");
    messages++;
    dataBytes += data.length;
    if (number < sampled) {
      const sent = data.readBigInt64LE(0);
      if (sent) ages.push(Number(process.hrtime.bigint() - sent) / 1e6);
    }
  });
  socket.on("close", () => {
    if (++closed === count) {
      const used = process.cpuUsage(begin);
      console.log(JSON.stringify({ messages, data_bytes: dataBytes, cpu_s: (used.user + used.system) / 1e6,
        latencies_ms: ages }));
    }
  });
}
