/** What heartbeats tell, in typed arrays by a node's dense index: a beat is a few array writes, and 100,000 nodes are 5 MB. */

export class BeatColumns {
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

  /** Makes room for that many nodes. */
  reserve(count: number): void {
    if (count <= this.atMs.length) return;
    const size = Math.max(64, this.atMs.length * 2, count);
    const before = this.atMs.length;
    this.atMs = grown(this.atMs, size);
    this.atMs.fill(Number.NaN, before);
    this.brokerMs = grown(this.brokerMs, size);
    this.awakeMs = grown(this.awakeMs, size);
    this.generation = grown(this.generation, size);
    this.seq = grown(this.seq, size);
    this.stateDigest = grown(this.stateDigest, size);
    this.flags = grown(this.flags, size);
  }

  clear(index: number): void {
    this.atMs[index] = Number.NaN;
    for (const column of [this.brokerMs, this.awakeMs, this.generation, this.seq, this.stateDigest, this.flags]) column[index] = 0;
  }
}

function grown<T extends Float64Array | Uint32Array>(column: T, size: number): T {
  const larger = new (column.constructor as new (length: number) => T)(size);
  larger.set(column);
  return larger;
}
