/** Waves come one after the other, each with its approval and its gate; the canary first. */
import type { FleetNode, RolloutInput } from "../model.ts";
import type { Call, Law } from "./law.ts";
import { hasFailed, hasGateOpen, isAtWork, isEnforced, isOurs, ranked } from "./reading.ts";

/** Nodes by wave, as the strategy slices their order; sizes as decide() tells them. */
function wavesOf({ fleet, input, progress }: Call): readonly (readonly FleetNode[])[] {
  const order = ranked(fleet, input);
  let from = 0;
  return progress.waves.map(({ nodes }) => order.slice(from, (from += nodes)));
}

/** Nothing of ours stands in the way of the next wave for this node: it is through, or we cannot move it. */
function isThroughOrStuck(node: FleetNode, { input, now }: Call): boolean {
  if (node.verdict !== "healthy" || node.obstacle !== undefined || node.disruption !== undefined || node.maintenance !== undefined)
    return true;
  if (hasFailed(node)) return true;
  const { desired } = node;
  if (desired === undefined || desired.revision !== input.revision) return false;
  if (now >= desired.decidedAtMs + input.strategy.progressDeadlineMs) return true;
  return isEnforced(node) && (node.gate.state === "passed" || desired.enforcedAtMs !== undefined);
}

/** In a small set waves fall together: what is asked of one that is not there is asked of the last. */
function isAsked({ strategy }: RolloutInput, wave: number, waves: number): boolean {
  return strategy.approvals.has(wave) || (wave === waves && [...strategy.approvals].some((asked) => asked > waves));
}

/**
 * Begun of the wave (from 0) in its turn. Not those that enforce the revision and drifted or rejoin, which belong to the last wave; nor those that an earlier
 * plan broke or left on its way for too long, which spend the budget until they are mended and need not wait for that.
 */
function begunIn(call: Call, wave: number): readonly FleetNode[] {
  const { input, now } = call;
  const members = new Set(wavesOf(call)[wave]);
  return call.begun.filter((node) => {
    const isThere = isEnforced(node) && node.desired?.revision === input.revision;
    const isOverdue = isAtWork(node) && now >= node.desired!.decidedAtMs + input.strategy.progressDeadlineMs;
    return members.has(node) && !isThere && !hasFailed(node) && !isOverdue && !(hasGateOpen(node) && node.verdict === "unhealthy");
  });
}

export const waveLaws: readonly Law[] = [
  {
    name: "begins nobody of a wave while a node of an earlier one could still be moved or is on its way",
    broken: (call) => {
      const waves = wavesOf(call);
      for (let wave = 1; wave < waves.length; wave += 1) {
        const [first] = begunIn(call, wave);
        if (first === undefined) continue;
        const before = waves.slice(0, wave).flat();
        const lagging = before.find((node) => !isThroughOrStuck(node, call));
        if (lagging !== undefined) return `${first.name} of wave ${wave + 1} begins before ${lagging.name}`;
      }
      return undefined;
    },
  },
  {
    name: "begins nobody of a wave while a node of the one before it soaks, unless promoted",
    broken: (call) => {
      const { input, now } = call;
      const waves = wavesOf(call);
      for (let wave = 1; wave < waves.length; wave += 1) {
        const [first] = begunIn(call, wave);
        if (first === undefined || input.promotedWave >= wave) continue;
        const soakMs = wave === 1 && input.strategy.canary !== undefined ? input.strategy.canary.soakMs : input.strategy.soakMs;
        const soaking = waves[wave - 1]!.find(
          (node) =>
            isOurs(node, input) &&
            isEnforced(node) &&
            node.verdict === "healthy" &&
            node.obstacle === undefined &&
            node.disruption === undefined &&
            node.maintenance === undefined &&
            (node.desired!.enforcedAtMs ?? now) + soakMs > now &&
            node.gate.state === "passed",
        );
        if (soaking !== undefined) return `${first.name} of wave ${wave + 1} begins while ${soaking.name} soaks`;
      }
      return undefined;
    },
  },
  {
    name: "begins nobody of a wave without the approval that the strategy asks for, bound to its digest",
    broken: (call) => {
      const { input, progress } = call;
      for (const wave of input.strategy.approvals) {
        const [first] = begunIn(call, wave - 1);
        const digest = progress.waves[wave - 1]?.approvalDigest;
        if (first === undefined) continue;
        if (input.approvals.get(wave) !== digest || digest === undefined)
          return `${first.name} of wave ${wave} begins, approved ${input.approvals.get(wave)}, asked ${digest}`;
      }
      return undefined;
    },
  },
  {
    name: "begins nobody of a wave before the webhook passed the one before it",
    broken: (call) => {
      const { input } = call;
      if (!input.strategy.hasWebhook) return undefined;
      for (let wave = 1; wave < call.progress.waves.length; wave += 1) {
        const [first] = begunIn(call, wave);
        if (first !== undefined && input.waveGates.get(wave)?.isPassed !== true) return `${first.name} of wave ${wave + 1} begins ungated`;
      }
      return undefined;
    },
  },
  {
    name: "asks the webhook once for a wave, and only where the strategy has one",
    broken: ({ decisions, input, progress }) => {
      const asked = decisions.flatMap((decision) => (decision.type === "askGate" ? [decision.wave] : []));
      if (asked.length > 0 && !input.strategy.hasWebhook) return `asked for wave ${asked[0]} without a webhook`;
      if (new Set(asked).size !== asked.length) return `asked twice: ${asked.join(", ")}`;
      const odd = asked.find((wave) => wave < 1 || wave > progress.waves.length || input.waveGates.has(wave));
      return odd === undefined ? undefined : `asked for wave ${odd}`;
    },
  },
  {
    name: "shows the digest to approve exactly where the strategy asks for an approval",
    broken: ({ progress, input }) => {
      const wrong = progress.waves.findIndex(
        ({ approvalDigest }, index) => (approvalDigest !== undefined) !== isAsked(input, index + 1, progress.waves.length),
      );
      return wrong < 0 ? undefined : `wave ${wrong + 1}`;
    },
  },
  {
    name: "slices the canary first, then the cumulative waves, then the rest",
    broken: ({ progress, fleet, input }) => {
      const { canary, waves } = input.strategy;
      if (fleet.length === 0) return undefined;
      const bounds = [
        ...(canary === undefined ? [] : [Math.min(canary.nodes, fleet.length)]),
        ...waves.map((reach) => Math.min(reach, fleet.length)),
        fleet.length,
      ];
      const reaches = bounds.filter((reach, index) => bounds.slice(0, index).every((before) => before < reach));
      const sizes = reaches.map((reach, index) => reach - (reaches[index - 1] ?? 0));
      const told = progress.waves.map(({ nodes }) => nodes).filter((nodes) => nodes > 0);
      return told.join() === sizes.join() ? undefined : `${told.join()} told, ${sizes.join()} asked`;
    },
  },
];
