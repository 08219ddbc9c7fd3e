/** The membership of the present moment: computed again only when sets, nodes, their records or the labels that their facts give have changed. */
import type { Labels } from "@drover/api";
import type { FleetView } from "../fleet/fleet.ts";
import { keys } from "../store/keys.ts";
import type { Catalog } from "./catalog.ts";
import { labelsOf, type Member, type Membership, membership } from "./membership.ts";

/** What is known of a node that decides on its membership; undefined: it is in none. */
interface Known {
  readonly name: string;
  readonly labels: Labels;
}

interface Held extends Member {
  /** Of the facts that the labels are from. */
  factsVersion: number | undefined;
}

export class MembershipIndex {
  readonly #catalog: Catalog;
  readonly #fleet: FleetView;
  readonly #known = new Map<string, Held>();
  #current: Membership | undefined;

  constructor(catalog: Catalog, fleet: FleetView) {
    this.#catalog = catalog;
    this.#fleet = fleet;
    catalog.onChange((changes) => {
      const isOurs = ({ key }: { readonly key: string }): boolean =>
        key.startsWith(keys.objectsOf("NodeSet")) ||
        key.startsWith(keys.objectsOf("Node")) ||
        (key.startsWith(keys.nodes) && this.#hasChanged(key.slice(keys.nodes.length)));
      if (this.#current !== undefined && changes.some(isOurs)) this.#current = undefined;
    });
    fleet.onChange((nodeIds) => {
      if (this.#current !== undefined && nodeIds.some((nodeId) => this.#hasNewFacts(nodeId))) this.#current = undefined;
    });
  }

  current(): Membership {
    this.#current ??= membership(
      [...this.#catalog.objects("NodeSet").values()].map(({ value }) => value),
      this.#members(),
    );
    return this.#current;
  }

  #hasNewFacts(nodeId: string): boolean {
    const held = this.#known.get(nodeId);
    const version = this.#fleet.node(nodeId)?.factsVersion;
    if (held === undefined || (version !== undefined && held.factsVersion === version)) return false;
    const hasChanged = this.#hasChanged(nodeId);
    if (!hasChanged) held.factsVersion = version;
    return hasChanged;
  }

  /** A renewed certificate, or facts that give the same labels, move nobody. */
  #hasChanged(nodeId: string): boolean {
    const known = this.#known.get(nodeId);
    const now = this.#knownNow(nodeId);
    return known?.name !== now?.name || !isSame(known?.labels, now?.labels);
  }

  #knownNow(nodeId: string): Known | undefined {
    const record = this.#catalog.nodeRecords.get(nodeId)?.value;
    const node = record === undefined ? undefined : this.#catalog.objects("Node").get(record.name)?.value;
    if (record === undefined || record.revokedAtMs !== undefined || node === undefined) return undefined;
    return { name: record.name, labels: labelsOf(node, this.#fleet.node(nodeId)?.facts) };
  }

  /** Revoked nodes are in no set. */
  #members(): Member[] {
    const members: Member[] = [];
    const gone = new Set(this.#known.keys());
    for (const { value: node } of this.#catalog.objects("Node").values()) {
      const nodeId = node.metadata.uid ?? "";
      const known = this.#knownNow(nodeId);
      if (known === undefined) continue;
      gone.delete(nodeId);
      const held = this.#known.get(nodeId);
      // Labels that stay as they are stay the same object: fleets are compared by that.
      const isHeld = held !== undefined && held.name === known.name && isSame(held.labels, known.labels);
      const { factsVersion } = this.#fleet.node(nodeId) ?? {};
      const member: Held = isHeld ? held : { nodeId, ...known, factsVersion };
      if (isHeld) held.factsVersion = factsVersion;
      else this.#known.set(nodeId, member);
      members.push(member);
    }
    for (const nodeId of gone) this.#known.delete(nodeId);
    return members;
  }
}

function isSame(one: Labels | undefined, other: Labels | undefined): boolean {
  if (one === other) return true;
  if (one === undefined || other === undefined) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}
