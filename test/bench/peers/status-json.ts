/** A status as Rancher's kind of agent sends it: JSON with a node's conditions, and images until it has the size. */

export function statusJson(agent: number, bytes: number): string {
  const status = {
    node: `node-${agent}`,
    state: "active",
    conditions: [{ type: "Ready", status: "True", reason: "KubeletReady", lastTransitionTime: "2026-01-01T00:00:00Z" }],
    capacity: { cpu: "64", memory: "263921072Ki", pods: "110" },
    images: [] as { names: string[]; sizeBytes: number }[],
  };
  let length = JSON.stringify(status).length;
  for (let image = 0; length + 120 <= bytes; image += 1) {
    const next = { names: [`registry.example.com/team-${agent % 10}/application-${image}:v1.${image}.0`], sizeBytes: 48_211_337 + image };
    status.images.push(next);
    length += JSON.stringify(next).length + 1;
  }
  return JSON.stringify({ ...status, padding: "x".repeat(Math.max(0, bytes - length - 13)) });
}
