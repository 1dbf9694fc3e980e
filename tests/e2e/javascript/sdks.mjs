// Calls the proxy with the official JavaScript SDKs and prints, per call, what the SDK saw; test_sdks_javascript.py compares.
// Environment: BASE_URL (the proxy), KEY (a virtual key), CALL (prefix of the call names, found again in book and ledger).
import { createOpenAI } from '@ai-sdk/openai';
import Anthropic from '@anthropic-ai/sdk';
import { generateText, jsonSchema, streamText, tool } from 'ai';
import OpenAI from 'openai';

const { BASE_URL, KEY, CALL } = process.env;
const messages = [{ role: 'user', content: 'How much does a lorry weigh?' }];
const schema = { type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false };
const labels = (name, knobs = 'words=11') => ({
  'x-demo': `call=${CALL}-${name}, ${knobs}`,
  'x-weighbridge-session': `${CALL}-${name}`,
});

const openai = new OpenAI({ baseURL: `${BASE_URL}/openai/v1`, apiKey: KEY, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: `${BASE_URL}/anthropic`, apiKey: KEY, maxRetries: 0 });
const vercel = createOpenAI({ baseURL: `${BASE_URL}/openai/v1`, apiKey: KEY });

const calls = {
  'openai-chat': async (headers) => {
    const answer = await openai.chat.completions.create({ model: 'gpt-4o-mini', messages }, { headers });
    return { text: answer.choices[0].message.content, output: answer.usage.completion_tokens };
  },
  'openai-chat-stream': async (headers) => {
    const stream = await openai.chat.completions.create({ model: 'gpt-4o-mini', messages, stream: true }, { headers });
    let text = '', sawUsage = false, sawNoChoice = false;
    for await (const chunk of stream) {
      sawUsage ||= Boolean(chunk.usage);
      sawNoChoice ||= chunk.choices.length === 0;
      text += chunk.choices[0]?.delta?.content ?? '';
    }
    return { text, sawUsage, sawNoChoice };
  },
  'openai-chat-tool': async (headers) => {
    const tools = [{ type: 'function', function: { name: 'road_weather', parameters: schema } }];
    const answer = await openai.chat.completions.create({ model: 'gpt-4o-mini', messages, tools }, { headers });
    return { tool: answer.choices[0].message.tool_calls[0].function.name, output: answer.usage.completion_tokens };
  },
  'openai-responses-stream': async (headers) => {
    const stream = await openai.responses.create({ model: 'gpt-4o-mini', input: messages[0].content, stream: true }, { headers });
    let text = '', output;
    for await (const event of stream) {
      if (event.type === 'response.output_text.delta') text += event.delta;
      if (event.type === 'response.completed') output = event.response.usage.output_tokens;
    }
    return { text, output };
  },
  'openai-embeddings': async (headers) => {
    const answer = await openai.embeddings.create({ model: 'text-embedding-3-small', input: 'one lorry' }, { headers });
    return { size: answer.data[0].embedding.length, input: answer.usage.prompt_tokens };
  },
  'anthropic-messages': async (headers) => {
    const answer = await anthropic.messages.create({ model: 'claude-haiku-4-5', max_tokens: 99, messages }, { headers });
    return { text: answer.content[0].text, output: answer.usage.output_tokens };
  },
  'anthropic-stream': async (headers) => {
    const stream = anthropic.messages.stream({ model: 'claude-haiku-4-5', max_tokens: 99, messages }, { headers });
    const final = await stream.finalMessage();
    return { text: final.content[0].text, output: final.usage.output_tokens };
  },
  'anthropic-tool': async (headers) => {
    const tools = [{ name: 'road_weather', input_schema: schema }];
    const answer = await anthropic.messages.create({ model: 'claude-haiku-4-5', max_tokens: 99, messages, tools }, { headers });
    return { tool: answer.content[0].name, output: answer.usage.output_tokens };
  },
  'vercel-responses': async (headers) => {
    const answer = await generateText({ model: vercel('gpt-4o-mini'), messages, headers, maxRetries: 0 });
    return { text: answer.text, output: answer.usage.outputTokens };
  },
  'vercel-chat-stream': async (headers) => {
    const answer = streamText({ model: vercel.chat('gpt-4o-mini'), messages, headers, maxRetries: 0 });
    let text = '';
    for await (const piece of answer.textStream) text += piece;
    return { text, output: (await answer.usage).outputTokens };
  },
  'vercel-chat-tool': async (headers) => {
    const tools = { road_weather: tool({ description: 'Weather', inputSchema: jsonSchema(schema) }) };
    const answer = await generateText({ model: vercel.chat('gpt-4o-mini'), messages, tools, headers, maxRetries: 0 });
    return { tool: answer.toolCalls[0].toolName, output: answer.usage.outputTokens };
  },
};

const seen = {};
for (const [name, run] of Object.entries(calls)) seen[name] = await run(labels(name));
console.log(JSON.stringify(seen));
