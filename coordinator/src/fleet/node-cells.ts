/** The cells a node is in, from its labels. */
import type { Labels } from "@drover/api";
import { shardOf } from "@drover/proto";
import type { Catalog } from "../resources/catalog.ts";

const ZONE_LABEL = "topology.kubernetes.io/zone";
const RACK_LABEL = "topology.drover.dev/rack";
/** Below it a shard is a handful of nodes that share nothing else. */
const MIN_NODES_FOR_SHARDS = 1_000;
/** Which server of a cluster a node is connected to is not known: all are taken to hang on the same one. */
const ONE_NATS_SERVER = "NATS server";

/** Keys that read as words: "zone a", "rack a/7", "NATS server". Racks of the same name in two zones are two. */
export function cellsOf(nodeId: string, labels: Labels, fleetSize: number): readonly string[] {
  const cells = [ONE_NATS_SERVER];
  const zone = labels[ZONE_LABEL] ?? "";
  const rack = labels[RACK_LABEL] ?? "";
  if (zone !== "") cells.push(`zone ${zone}`);
  if (rack !== "") cells.push(zone === "" ? `rack ${rack}` : `rack ${zone}/${rack}`);
  if (fleetSize > MIN_NODES_FOR_SHARDS) cells.push(`shard ${shardOf(nodeId)}`);
  return cells;
}

/** Asked each second for each node: remembered as long as its Node object stays the same. */
export class CellIndex {
  readonly #catalog: Pick<Catalog, "nodeRecords" | "objects">;
  readonly #fleet: { readonly size: number };
  readonly #cells = new WeakMap<object, { readonly fleetSize: number; readonly cells: readonly string[] }>();

  constructor(catalog: Pick<Catalog, "nodeRecords" | "objects">, fleet: { readonly size: number }) {
    this.#catalog = catalog;
    this.#fleet = fleet;
  }

  of(nodeId: string): readonly string[] {
    const { size } = this.#fleet;
    const node = this.#catalog.objects("Node").get(this.#catalog.nodeRecords.get(nodeId)?.value.name ?? "")?.value;
    if (node === undefined) return cellsOf(nodeId, {}, size);
    const held = this.#cells.get(node);
    if (held?.fleetSize === size) return held.cells;
    const cells = cellsOf(nodeId, node.metadata.labels ?? {}, size);
    this.#cells.set(node, { fleetSize: size, cells });
    return cells;
  }
}
