// Calls a running server with the SDK that @hey-api/openapi-ts generates. The types of all values are checked by tsc.
import { client } from "./hey/client.gen.js";
import { getMe, listEmails, sendEmail } from "./hey/sdk.gen.js";

client.setConfig({ baseUrl: `${process.env.MAILRAIL_URL}/api`, auth: process.env.MAILRAIL_KEY });

const me = await getMe({ throwOnError: true });
await sendEmail({ body: { from: "shop@example.com", to: "ada@example.com", text: "First" }, throwOnError: true });
const sent = await sendEmail({
  body: { from: "shop@example.com", to: "ada@example.com", subject: "Your order", text: "It is on its way." },
  headers: { "Idempotency-Key": "order-42" },
  throwOnError: true,
});
const refused = await sendEmail({ body: { from: "shop@example.com", to: "nobody", text: "Hi" } });
const page = await listEmails({ query: { to: "ada@example.com", limit: 1 }, throwOnError: true });

const next: string | null = page.data.next;
console.log(me.data.kind, sent.data.status, refused.response?.status, page.data.data.length, typeof next);
