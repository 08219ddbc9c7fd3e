/** Who checks in when: each agent once per interval, evenly spread. An open loop: a slow server makes nobody wait for it. */

const TICK_MS = 10;

export function inTurn(agents: number, intervalMs: number, checkIn: (agent: number) => void): void {
  const startedAtMs = performance.now();
  let turns = 0;
  setInterval(() => {
    const due = Math.floor(((performance.now() - startedAtMs) * agents) / intervalMs);
    for (; turns < due; turns += 1) checkIn(turns % agents);
  }, TICK_MS);
}

/** Calls that answer: an agent whose last one is still under way misses its turn. */
export function callInTurn(agents: number, intervalMs: number, call: (agent: number, done: (error: Error | null) => void) => void) {
  const isBusy = new Uint8Array(agents);
  const counts = { done: 0, missed: 0, failed: 0 };
  inTurn(agents, intervalMs, (agent) => {
    if (isBusy[agent] === 1) {
      counts.missed += 1;
      return;
    }
    isBusy[agent] = 1;
    call(agent, (error) => {
      isBusy[agent] = 0;
      if (error === null) counts.done += 1;
      else counts.failed += 1;
    });
  });
  return counts;
}
