/** The membership of the present moment: computed again only when sets, nodes, their records or their facts have changed. */
import type { Facts } from "@drover/proto";
import type { FleetView } from "../fleet/fleet.ts";
import { keys } from "../store/keys.ts";
import type { Catalog } from "./catalog.ts";
import { labelsOf, type Member, type Membership, membership } from "./membership.ts";

export class MembershipIndex {
  readonly #catalog: Catalog;
  readonly #fleet: FleetView;
  readonly #facts = new Map<string, Facts | undefined>();
  #current: Membership | undefined;

  constructor(catalog: Catalog, fleet: FleetView) {
    this.#catalog = catalog;
    this.#fleet = fleet;
    catalog.onChange((changes) => {
      const isOurs = (key: string): boolean =>
        key.startsWith(keys.objectsOf("NodeSet")) || key.startsWith(keys.objectsOf("Node")) || key.startsWith(keys.nodes);
      if (changes.some(({ key }) => isOurs(key))) this.#current = undefined;
    });
    fleet.onChange((nodeIds) => {
      if (nodeIds.some((nodeId) => this.#facts.get(nodeId) !== fleet.node(nodeId)?.facts)) this.#current = undefined;
    });
  }

  current(): Membership {
    this.#current ??= membership(
      [...this.#catalog.objects("NodeSet").values()].map(({ value }) => value),
      this.#members(),
    );
    return this.#current;
  }

  /** Revoked nodes are in no set. */
  #members(): Member[] {
    const members: Member[] = [];
    this.#facts.clear();
    for (const { value: node } of this.#catalog.objects("Node").values()) {
      const nodeId = node.metadata.uid ?? "";
      const record = this.#catalog.nodeRecords.get(nodeId);
      if (record === undefined || record.value.revokedAtMs !== undefined) continue;
      const facts = this.#fleet.node(nodeId)?.facts;
      this.#facts.set(nodeId, facts);
      members.push({ nodeId, name: node.metadata.name, labels: labelsOf(node, facts) });
    }
    return members;
  }
}
