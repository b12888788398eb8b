// pi-ai on Node: runs the same jobs as direct_client.py, or with `cold` prints the first token.
//
//   node pi_ai_node.mjs DIRECTORY [cold BASE WIRE]
//
// DIRECTORY contains node_modules with @earendil-works/pi-ai. Node resolves module names relative to
// this file, so the full path is used.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const home = `${process.argv[2]}/node_modules/@earendil-works/pi-ai`;
const load = (file) => import(pathToFileURL(`${home}/dist/${file}`).href);
const APIS = {
  chat: ["openai-completions", "/v1"],
  anthropic: ["anthropic-messages", ""],
};
const KINDS = { text_delta: "text", thinking_delta: "thinking", toolcall_delta: "tool" };
const { createModels, createProvider, envApiKeyAuth } = await load("index.js");
const { openAICompletionsApi } = await load("api/openai-completions.lazy.js");
const { anthropicMessagesApi } = await load("api/anthropic-messages.lazy.js");
const models = createModels();
models.setProvider(createProvider({
  id: "lab",
  auth: { apiKey: envApiKeyAuth("lab", ["LAB_API_KEY"]) },
  models: [],
  api: {
    "openai-completions": openAICompletionsApi(),
    "anthropic-messages": anthropicMessagesApi(),
  },
}));

async function* stream(base, wire, model, tools) {
  const [api, path] = APIS[wire];
  const asked = {
    id: model, name: model, api, provider: "lab", baseUrl: base + path, reasoning: false,
    input: ["text"], cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
    contextWindow: 128000, maxTokens: 32000,
  };
  const context = { messages: [{ role: "user", content: "q", timestamp: 1 }], tools };
  for await (const event of models.stream(asked, context, { apiKey: "k" })) {
    if (KINDS[event.type]) yield [KINDS[event.type], event.delta];
    else if (event.type === "error") throw new Error(event.error.errorMessage);
  }
}

const PARAMETERS = { type: "object", properties: { x: { type: "string" } } };
const TOOLS = [{ name: "f", description: "d", parameters: PARAMETERS }];
const seconds = () => { const c = process.cpuUsage(); return (c.user + c.system) / 1e6; };

async function follow(job, began) {
  const got = { thinking: 0, text: 0, tool: 0 };
  let first = 0;
  const model = `${job.kind}-${job.deltas}`;
  for await (const [kind, piece] of stream(job.base, job.wire, model, job.kind === "tool" ? TOOLS : undefined)) {
    first ||= performance.now() - began;
    got[kind] += piece.length;
  }
  return [got, first / 1000];
}

async function run(job) {
  let stall = 0, last = performance.now();
  const watch = job.streams && setInterval(() => {
    const now = performance.now();
    stall = Math.max(stall, now - last - 5);
    last = now;
  }, 5);
  const cpu = seconds(), began = performance.now();
  const results = await Promise.all(Array.from({ length: job.streams || 1 }, () => follow(job, began)));
  const spent = seconds() - cpu, wall = (performance.now() - began) / 1000;
  clearInterval(watch);
  const firsts = results.map(([, first]) => first).sort((a, b) => a - b);
  return {
    cpu: spent, wall, stall: stall / 1000, first: firsts[firsts.length >> 1],
    mb: process.resourceUsage().maxRSS / 1024, got: results.map(([got]) => got),
  };
}

if (process.argv[3] === "cold") {
  for await (const [, piece] of stream(process.argv[4], process.argv[5], "text-20", undefined)) {
    console.log(piece);
    break;
  }
  process.exit(0); // open connections would keep the process alive for seconds
} else {
  const { version } = JSON.parse(readFileSync(`${home}/package.json`, "utf8"));
  console.log(JSON.stringify({ "@earendil-works/pi-ai": version, Node: process.versions.node }));
  for await (const line of createInterface({ input: process.stdin })) {
    const result = await run(JSON.parse(line)).catch((error) => ({ error: String(error) }));
    console.log(JSON.stringify(result));
  }
}
