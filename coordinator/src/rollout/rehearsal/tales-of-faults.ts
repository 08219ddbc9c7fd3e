/** Stories of rollouts in which something goes wrong: nodes, drains, cells, stores. */
import { desiredKey, maintenanceKey } from "./controller.ts";
import { seededNames, type TaleOf } from "./tales.ts";

const containerdDown = { outcome: "failed", reason: "ContainerdDown", message: "CRI does not answer" } as const;

export const talesOfFaults: readonly TaleOf[] = [
  {
    name: "zone-outage",
    about:
      "a zone falls silent in the middle of a wave: it is left alone, what was in change there stays counted, and it goes on when it is heard",
    tell: (tale) => {
      const east = tale.nodes("a c e", "web", { zone: "east" });
      tale.nodes("b d f", "web", { zone: "west" });
      for (const machine of tale.world.machines.values()) machine.workMs = 10_000;
      tale.begin("B", { maxUnavailable: 2 });
      tale.at("00:05", "zone east falls silent", () => {
        for (const machine of east)
          Object.assign(machine, { isUp: false, verdict: "unknown", verdictReason: "CellDisrupted", disruption: "zone east is disrupted" });
      });
      tale.at("05:00", "zone east is heard again", () => {
        for (const machine of east)
          Object.assign(machine, { isUp: true, verdict: "healthy", verdictReason: "Beating", disruption: undefined });
      });
    },
  },
  {
    name: "node-lost-during-drain",
    about: "a node dies while it is drained; another takes its place",
    tell: (tale) => {
      const [a] = tale.nodes("a b c");
      for (const machine of tale.world.machines.values()) Object.assign(machine, { impact: "drain", isDrainable: true });
      tale.begin("B", { maxUnavailable: 2 });
      a!.isDrainStuck = true;
      tale.at("00:30", "a dies", () => Object.assign(a!, { isUp: false, verdict: "unhealthy", verdictReason: "Silent" }));
      tale.at("60:00", "a is switched on again", () =>
        Object.assign(a!, { isUp: true, verdict: "healthy", verdictReason: "Beating", isDrainStuck: false }),
      );
    },
  },
  {
    name: "pdb-never-yields",
    about: "a PodDisruptionBudget never lets one node go: others go first, it is tried again, and never left cordoned in between",
    tell: (tale) => {
      const [a] = tale.nodes("a b c");
      for (const machine of tale.world.machines.values()) Object.assign(machine, { impact: "drain", isDrainable: true });
      a!.isDrainStuck = true;
      tale.begin("B");
      tale.at("40:00", "the PodDisruptionBudget of a's pods is loosened", () => Object.assign(a!, { isDrainStuck: false }));
    },
  },
  {
    name: "abort-during-drain",
    about: "what was drained for the rollout is let back when it is aborted",
    tell: (tale) => {
      const [a] = tale.nodes("a b");
      for (const machine of tale.world.machines.values()) Object.assign(machine, { impact: "reboot", isDrainable: true });
      a!.isDrainStuck = true;
      tale.begin("B");
      tale.at("01:00", "an operator aborts", () => tale.world.speak({ isAborted: true }));
    },
  },
  {
    name: "superseded-during-drain",
    about: "another rollout takes over the drain of the one before",
    tell: (tale) => {
      for (const machine of tale.nodes("a b")) Object.assign(machine, { impact: "drain", isDrainable: true });
      tale.begin("B");
      tale.at("00:02", "the profile is corrected", () => tale.begin("C"));
    },
  },
  {
    name: "drained-for-a-later-turn",
    about: "a node that another rollout drained, and whose turn comes later now, is let back: it would hold the budget of the running wave",
    tell: (tale) => {
      tale.nodes("a", "web", { role: "web" });
      tale.nodes("b", "web", { role: "db" });
      for (const machine of tale.world.machines.values()) Object.assign(machine, { impact: "drain", isDrainable: true });
      tale.begin("B", { order: { key: "role", values: ["db", "web"] } });
      tale.at("00:02", "the profile is corrected, and the order turned round", () =>
        tale.begin("C", { order: { key: "role", values: ["web", "db"] }, waves: [1] }),
      );
    },
  },
  {
    name: "drift-of-a-thousand",
    about: "a thousand nodes drift at once and ask for a slot: they get it within the budget, never all together",
    isLong: true,
    tell: (tale) => {
      const nodes = tale.nodes(seededNames(1_000));
      tale.begin("A", { maxUnavailable: 100 });
      tale.at("80:00", "an agent's new version renders the kubelet's step differently: all drift, above live", () => {
        for (const machine of nodes) machine.drift = { impact: "restart", sinceMs: tale.world.nowMs };
      });
    },
  },
  {
    name: "drift-returns",
    about: "drift that returns within the hour waits, because another slot does not mend its cause",
    tell: (tale) => {
      const [a] = tale.nodes("a b");
      tale.begin("A");
      const drifts = (): void => void (a!.drift = { impact: "restart", sinceMs: tale.world.nowMs });
      tale.at("70:00", "a drifts", drifts);
      tale.at("75:00", "a drifts again", drifts);
    },
  },
  {
    name: "failure-heals-itself",
    about: "a failure stops the rollout; the machine tries again, gets there, and it goes on",
    tell: (tale) => {
      const [a] = tale.nodes("a b c");
      a!.fate = (_revision, tries) => (tries < 4 ? containerdDown : { outcome: "enforced" });
      tale.begin("B");
    },
  },
  {
    name: "same-new-fingerprint",
    about: "the second node that fails in the same new way stops the rollout, though more failures are borne",
    tell: (tale) => {
      const [, b, c] = tale.nodes("a b c d e f");
      for (const machine of [b!, c!]) machine.fate = () => ({ ...containerdDown, outcome: "rejected" });
      tale.begin("B", { maxUnavailable: 2, failureBudget: 5, waves: [1] });
    },
  },
  {
    name: "known-fingerprint",
    about: "a failure that was known before the rollout counts by the failure budget alone",
    tell: (tale) => {
      const nodes = tale.nodes("a b c d");
      for (const machine of nodes.slice(0, 2)) machine.fate = () => ({ ...containerdDown, outcome: "rejected" });
      tale.begin("A", { maxUnavailable: 4, failureBudget: 2 });
      tale.world.speak({ knownFingerprints: new Set(["step: ContainerdDown: CRI does not answer"]) });
    },
  },
  {
    name: "impact-exceeded",
    about: "a node finds more impact than was approved and refuses: everything stops, whatever the failure budget",
    tell: (tale) => {
      const [a] = tale.nodes("a b c");
      a!.fate = () => ({ outcome: "refused", reason: "ImpactExceeded", message: "would restart containerd" });
      tale.begin("B", { failureBudget: 2 });
    },
  },
  {
    name: "retry",
    about: "the cause is mended and an operator asks to retry the failed ones",
    tell: (tale) => {
      const [a, b] = tale.nodes("a b c");
      for (const machine of [a!, b!])
        machine.fate = (_revision, tries) => (tries > 1 ? { outcome: "enforced" } : { ...containerdDown, outcome: "rejected" });
      tale.begin("B", { maxUnavailable: 2 });
      tale.at("10:00", "the registry is mended; an operator retries", () => tale.world.speak({ retriedAtMs: tale.world.nowMs }));
    },
  },
  {
    name: "gate-never-passes",
    about: "a node enforces the revision and its probe never passes: it counts as failed at the deadline",
    tell: (tale) => {
      const [a] = tale.nodes("a b");
      a!.gate = { state: "pending", message: "probe healthz: 503" };
      tale.begin("B");
    },
  },
  {
    name: "operators-drain",
    about: "an operator has taken a node out: it counts, it is not moved, and is when the operator lets it back",
    tell: (tale) => {
      const [a] = tale.nodes("a b c");
      tale.world.maintain(a!.name, "Operator", "drain");
      tale.begin("B", { maxUnavailable: 2 });
      tale.at("20:00", "the operator lets a back", () => tale.world.maintain("a", "Operator", "release"));
    },
  },
  {
    name: "repair-in-the-middle",
    about: "a repair takes a node's place in the budget until it is done",
    tell: (tale) => {
      tale.nodes("a b c");
      tale.begin("B", { soakMs: 30_000 });
      tale.at("00:40", "c breaks, and a repair takes it", () => {
        Object.assign(tale.world.machine("c"), { verdict: "unhealthy", verdictReason: "KubeletDown" });
        tale.world.maintain("c", "Repair", "cordon");
      });
      tale.at("20:00", "c is repaired", () => {
        Object.assign(tale.world.machine("c"), { verdict: "healthy", verdictReason: "Beating" });
        tale.world.maintain("c", "Repair", "release");
      });
    },
  },
  {
    name: "replaced-node",
    about: "a node dies in change and a new machine takes its place: it gets the revision like everybody",
    tell: (tale) => {
      const [a] = tale.nodes("a b c");
      a!.workMs = 60_000;
      tale.begin("B");
      tale.at("00:30", "a dies in change", () => Object.assign(a!, { isUp: false, verdict: "unhealthy", verdictReason: "Silent" }));
      tale.at("20:00", "a new machine takes a's place, under a's name", () => {
        tale.world.store.put(desiredKey(a!.nodeId), undefined);
        tale.world.machines.set("a", a!.replacement("id-a-2"));
      });
    },
  },
  {
    name: "node-changes-its-set",
    about: "a node in change is given to another set: there it is redirected, here nobody waits for it",
    tell: (tale) => {
      tale.nodes("a b", "web");
      tale.nodes("c d", "db");
      tale.world.machine("a").workMs = 60_000;
      tale.begin("B", {}, "web");
      tale.begin("C", {}, "db");
      tale.at("00:10", "a's label changes: it belongs to db now", () => Object.assign(tale.world.machine("a"), { set: "db" }));
    },
  },
  {
    name: "backup-restored",
    about: "an old backup is restored: nothing is decided until somebody accepts that, and then nodes go one by one",
    tell: (tale) => {
      tale.nodes("a b c");
      tale.begin("A", { maxUnavailable: 2 });
      let backup: ReturnType<typeof tale.world.backup> | undefined;
      tale.at("05:00", "a backup is taken", () => (backup = tale.world.backup()));
      tale.at("06:00", "the profile is changed", () => tale.begin("B", { maxUnavailable: 1 }));
      tale.at("20:00", "the disk is lost and the backup restored: nodes tell of generations above it", () => tale.world.restore(backup!));
      tale.at("25:00", "an operator accepts the backup", () => tale.world.acceptRestored());
      tale.at("25:10", "the profile is applied again", () => tale.begin("B", { maxUnavailable: 1 }));
    },
  },
  {
    name: "broken-before",
    about: "a node that was broken before counts, and is left alone",
    tell: (tale) => {
      const [a] = tale.nodes("a b c");
      Object.assign(a!, { verdict: "unhealthy", verdictReason: "KubeletDown" });
      tale.begin("B");
      tale.at("10:00", "an operator allows two", () => tale.begin("B", { maxUnavailable: 2 }));
    },
  },
  {
    name: "record-without-cluster",
    about: "maintenance that somebody else holds is never ended by a rollout, also when it is aborted",
    tell: (tale) => {
      tale.nodes("a b");
      tale.world.maintain("a", "Repair", "cordon");
      tale.begin("B", { maxUnavailable: 2 });
      tale.at("05:00", "an operator aborts", () => tale.world.speak({ isAborted: true }));
      tale.at("06:00", "the repair's record is still there", () => {
        if (tale.world.store.get(maintenanceKey("id-a")) === undefined) tale.world.violations.push("the repair's record is gone");
      });
    },
  },
];
