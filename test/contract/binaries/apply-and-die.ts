/** One life of an agent that applies binaries to an image, and is killed by SIGKILL before its n-th change of a file. */
import { fakeStepContext } from "../../../agent/src/fake/index.ts";
import type { Host } from "../../../agent/src/host/host.ts";
import { imageHost } from "../../../agent/src/host/not-live.ts";
import { binariesStep } from "../../../agent/src/steps/binaries/binaries-step.ts";
import { BinariesSpec } from "@drover/proto";
import { fileMemory } from "./file-memory.ts";

const [root, memoryPath, specJson, killAfter] = process.argv.slice(2) as [string, string, string, string];
let left = Number(killAfter);
const host = imageHost(root);
const changes = new Set<PropertyKey>(["write", "writeLink", "writeHardLink", "rename", "remove", "removeTree", "fetch", "extract"]);

function mortal<T extends object>(port: T): T {
  return new Proxy(port, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name, target);
      if (typeof method !== "function") return method;
      return (...args: unknown[]): unknown => {
        if (changes.has(name)) die();
        return Reflect.apply(method, target, args);
      };
    },
  });
}

function die(): void {
  if (left === 0) process.kill(process.pid, "SIGKILL");
  left -= 1;
}

const mortalHost: Host = { ...host, files: mortal(host.files), downloads: mortal(host.downloads) };
const durable = fileMemory(memoryPath);
const memory = {
  get: () => durable.get(),
  set(value: unknown): Promise<void> {
    die();
    return durable.set(value);
  },
};
const context = { ...fakeStepContext(mortalHost), memory };
const spec = BinariesSpec.fromPartial(JSON.parse(specJson) as Partial<BinariesSpec>);
await binariesStep.apply(spec, [], context);
