/** What steps remember, one durable file per kind. */
import type { StepKind } from "@drover/proto";
import type { StateDirectory } from "../ports.ts";
import type { StepMemory } from "../steps/step.ts";

export function stepMemory(state: StateDirectory, kind: StepKind): StepMemory {
  const name = `memory-${kind.toLowerCase()}.json`;
  return {
    async get() {
      const content = await state.readFile(name);
      return content === undefined ? undefined : (JSON.parse(content.toString()) as unknown);
    },
    set: (value) => (value === undefined ? state.removeFile(name) : state.writeFile(name, Buffer.from(JSON.stringify(value)))),
  };
}
