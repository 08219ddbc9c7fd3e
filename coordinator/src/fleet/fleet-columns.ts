/** What heartbeats tell and a little more, in typed arrays by a node's dense index: a beat is a few array writes, and 100,000 nodes are 6 MB. */

const GROWTH = 1.25;

export class FleetColumns {
  /** Coordinator's monotonic milliseconds of the last beat; NaN: none seen. */
  atMs = new Float64Array(0);
  /** Broker's stamp of it, Unix milliseconds. */
  brokerMs = new Float64Array(0);
  /** The observer's time awake and caught up, when it was folded. */
  awakeMs = new Float64Array(0);
  generation = new Float64Array(0);
  seq = new Uint32Array(0);
  stateDigest = new Uint32Array(0);
  flags = new Uint32Array(0);
  lastReportUnixMs = new Float64Array(0);
  /** Counted up with each change of them. */
  factsVersion = new Uint32Array(0);
  /** 1: it told something since its verdict. */
  isToJudge = new Uint8Array(0);

  /** As of a node that has told nothing, which has room from then on. */
  clear(index: number): void {
    this.#reserve(index + 1);
    this.atMs[index] = Number.NaN;
    this.isToJudge[index] = 1;
    const { brokerMs, awakeMs, generation, seq, stateDigest, flags, lastReportUnixMs, factsVersion } = this;
    for (const column of [brokerMs, awakeMs, generation, seq, stateDigest, flags, lastReportUnixMs, factsVersion]) column[index] = 0;
  }

  #reserve(count: number): void {
    if (count <= this.atMs.length) return;
    const size = Math.max(64, Math.ceil(this.atMs.length * GROWTH), count);
    this.atMs = grown(this.atMs, size);
    this.brokerMs = grown(this.brokerMs, size);
    this.awakeMs = grown(this.awakeMs, size);
    this.generation = grown(this.generation, size);
    this.seq = grown(this.seq, size);
    this.stateDigest = grown(this.stateDigest, size);
    this.flags = grown(this.flags, size);
    this.lastReportUnixMs = grown(this.lastReportUnixMs, size);
    this.factsVersion = grown(this.factsVersion, size);
    this.isToJudge = grown(this.isToJudge, size);
  }
}

function grown<T extends Float64Array | Uint32Array | Uint8Array>(column: T, size: number): T {
  const larger = new (column.constructor as new (length: number) => T)(size);
  larger.set(column);
  return larger;
}
