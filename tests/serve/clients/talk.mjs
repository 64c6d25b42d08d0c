// What an application does with OpenAI's client for JavaScript; prints what it got as JSON.
// node talk.mjs URL KEY
import OpenAI from "openai";

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: "Hello!" }];
const same = { model: "chat", seed: 3, temperature: 0.9, max_tokens: 8 };

const whole = await client.chat.completions.create({ ...same, messages });

const stream = await client.chat.completions.create({
  ...same, messages, stream: true, stream_options: { include_usage: true },
});
let text = "", usage = null;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}

// A conversation goes on with the message as the client gave it.
const talk = [...messages, whole.choices[0].message, { role: "user", content: "And you?" }];
const next = await client.chat.completions.create({ ...same, messages: talk });

const helper = client.chat.completions.stream({ ...same, messages });
const final = await helper.finalChatCompletion();

const several = await client.chat.completions.create({ ...same, messages, n: 2, logprobs: true, top_logprobs: 1 });
const session = await client.chat.completions.create({ ...same, messages, session_id: "new" });
const prompt = await client.completions.create({ ...same, prompt: "Hello!", logprobs: 1 });

const controller = new AbortController();
const left = await client.chat.completions.create({ ...same, messages, stream: true }, { signal: controller.signal });
for await (const chunk of left) {
  controller.abort();
  break;  // Node 20 may wait without end for the next piece of what was aborted, and then exits with 13.
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);

const refused = {};
for (const [name, wrong, by] of [
  ["model", { model: "gpt-9" }, client],
  ["field", { tools: [] }, client],
  ["key", {}, new OpenAI({ baseURL: `${url}/v1`, apiKey: "rj-wrong-key", maxRetries: 0 })],
]) {
  await by.chat.completions.create({ ...same, messages, ...wrong }).catch((error) => {
    refused[name] = { kind: error.constructor.name, status: error.status, code: error.code, message: error.message };
  });
}

console.log(JSON.stringify({
  whole: whole.choices[0].message.content, text, usage, asked: whole.usage, next: next.choices[0].message.content,
  final: final.choices[0].message.content, several: several.choices.length,
  logprobs: several.choices[0].logprobs.content[0].top_logprobs.length, session: session.session_id,
  prompt: prompt.choices[0].text, offsets: prompt.choices[0].logprobs.text_offset, models, refused,
}));
