// Publishes one job from Node.js, as docs/wire.md says: confirmed, mandatory, persistent.
//
//   AMQP_URL=amqp://guest:guest@localhost node publish.mjs demo.add_row '{"n": 1}' row-1

import { randomBytes } from "node:crypto";
import amqp from "amqplib";

const EXCHANGE = "penstock.jobs";
const CONFIRM_MILLISECONDS_MAX = 10_000;

const [type, payload, key] = process.argv.slice(2);
if (type === undefined || payload === undefined) {
  console.error("usage: node publish.mjs TYPE JSON [KEY]");
  process.exit(2);
}

try {
  const jobId = uuidv7();
  await publish({ jobId, type, payload, key });
  console.log(jobId); // RabbitMQ has confirmed it: this is the receipt
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
}

async function publish({ jobId, type, payload, key }) {
  const connection = await amqp.connect(process.env.AMQP_URL ?? "amqp://localhost");
  try {
    const channel = await connection.createConfirmChannel();
    const returned = new Set();
    channel.on("return", (message) => returned.add(message.properties.messageId));
    channel.publish(EXCHANGE, type, Buffer.from(payload), {
      messageId: jobId,
      type,
      contentType: "application/json",
      appId: "penstock-example-node",
      timestamp: Math.floor(Date.now() / 1000),
      persistent: true,
      mandatory: true,
      headers: { "schema-version": 1, ...(key === undefined ? {} : { "dedup-key": key }) },
    });
    await Promise.race([channel.waitForConfirms(), deadline()]);
    if (returned.has(jobId)) throw new Error(`no queue is bound for type ${type}`); // it came before the confirm
  } finally {
    await connection.close();
  }
}

// No confirm in time means that nobody knows: publish again with the same id or key, the second one is absorbed.
function deadline() {
  return new Promise((_, reject) => {
    const late = () => reject(new Error("RabbitMQ did not confirm in time; publish again with the same key"));
    setTimeout(late, CONFIRM_MILLISECONDS_MAX).unref();
  });
}

// RFC 9562: 48 bits of milliseconds, then random bits around the version and the variant.
function uuidv7() {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
