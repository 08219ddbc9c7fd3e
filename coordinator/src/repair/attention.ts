/** Which nodes wait for a person: their last repair ended without helping, and nothing more is done by itself. */
import type { Condition, Repair } from "@drover/api";
import type { Catalog } from "../resources/catalog.ts";
import { keys } from "../store/keys.ts";
import { hasEnded, millis } from "./standing.ts";

export class Attention {
  readonly #catalog: Catalog;
  #newest: ReadonlyMap<string, Repair> | undefined;

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
    catalog.onChange((changes) => {
      if (changes.some(({ key }) => key.startsWith(keys.objectsOf("Repair")))) this.#newest = undefined;
    });
  }

  /** undefined: none is needed. */
  conditionOf(nodeId: string): Condition | undefined {
    const status = this.#newestRepairs().get(nodeId)?.status;
    if (status?.clearedAt !== undefined || (status?.phase !== "HandedOver" && status?.phase !== "Failed")) return undefined;
    const reason = status.phase === "HandedOver" ? "HandedOver" : status.reason;
    return { type: "NeedsAttention", status: "True", reason, message: status.message, lastTransitionTime: status.finishedAt ?? "" };
  }

  #newestRepairs(): ReadonlyMap<string, Repair> {
    if (this.#newest !== undefined) return this.#newest;
    const newest = new Map<string, Repair>();
    for (const { value } of this.#catalog.objects("Repair").values()) {
      const held = newest.get(value.spec.node);
      if (held === undefined || rank(value) >= rank(held)) newest.set(value.spec.node, value);
    }
    return (this.#newest = newest);
  }
}

function rank(repair: Repair): number {
  return hasEnded(repair) ? (millis(repair.status?.finishedAt) ?? 0) : Infinity;
}
