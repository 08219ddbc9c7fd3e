/** The cells a node is in, from its labels. */
import type { Labels } from "@drover/api";
import { SHARD_COUNT, shardOf } from "@drover/proto";
import type { Catalog } from "../resources/catalog.ts";

const ZONE_LABEL = "topology.kubernetes.io/zone";
const RACK_LABEL = "topology.drover.dev/rack";
/** Below it a shard is a handful of nodes that share nothing else. */
const MIN_NODES_FOR_SHARDS = 1_000;
/** Which server of a cluster a node is connected to is not known: all are taken to hang on the same one. */
const ONE_NATS_SERVER = "NATS server";
const SHARDS = Array.from({ length: SHARD_COUNT }, (_, shard) => `shard ${shard}`);
const NO_LABELS: Labels = {};

/** Keys that read as words: "zone a", "rack a/7", "NATS server". Racks of the same name in two zones are two. */
export function cellsOf(nodeId: string, labels: Labels, fleetSize: number): readonly string[] {
  return withShard(labelledCells(labels), nodeId, fleetSize);
}

function withShard(cells: readonly string[], nodeId: string, fleetSize: number): readonly string[] {
  return fleetSize > MIN_NODES_FOR_SHARDS ? [...cells, SHARDS[shardOf(nodeId)]!] : cells;
}

function labelledCells(labels: Labels): readonly string[] {
  const cells = [ONE_NATS_SERVER];
  const zone = labels[ZONE_LABEL] ?? "";
  const rack = labels[RACK_LABEL] ?? "";
  if (zone !== "") cells.push(`zone ${zone}`);
  if (rack !== "") cells.push(zone === "" ? `rack ${rack}` : `rack ${zone}/${rack}`);
  return cells;
}

/** Asked often for each node: what its labels say is worked out once for all nodes with the same ones. */
export class CellIndex {
  readonly #catalog: Pick<Catalog, "nodeRecords" | "nodes">;
  readonly #fleet: { readonly size: number };
  readonly #cells = new WeakMap<Labels, readonly string[]>();

  constructor(catalog: Pick<Catalog, "nodeRecords" | "nodes">, fleet: { readonly size: number }) {
    this.#catalog = catalog;
    this.#fleet = fleet;
  }

  of(nodeId: string): readonly string[] {
    const { nodes, nodeRecords } = this.#catalog;
    const labels = nodes.field(nodeRecords.field(nodeId, "name") ?? "", "metadata")?.labels ?? NO_LABELS;
    let cells = this.#cells.get(labels);
    if (cells === undefined) this.#cells.set(labels, (cells = labelledCells(labels)));
    return withShard(cells, nodeId, this.#fleet.size);
  }
}
