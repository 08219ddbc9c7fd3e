/**
 * What was worked out for objects that come and go, forgotten when nobody has asked for a while: a WeakMap that once held 100,000 of them keeps its table of
 * 4 MB for ever.
 */
const MANY = 5_000;

export class FadingMap<K extends WeakKey, V> {
  #lately = new WeakMap<K, V>();
  #before = new WeakMap<K, V>();
  #count = 0;

  get(key: K): V | undefined {
    const known = this.#lately.get(key);
    if (known !== undefined) return known;
    const older = this.#before.get(key);
    if (older !== undefined) this.set(key, older);
    return older;
  }

  set(key: K, value: V): void {
    if (this.#count >= MANY) {
      this.#before = this.#lately;
      this.#lately = new WeakMap();
      this.#count = 0;
    }
    this.#count += 1;
    this.#lately.set(key, value);
  }
}
