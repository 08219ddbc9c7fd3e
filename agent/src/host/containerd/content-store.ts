/** Blobs in containerd's content store: read whole, asked for, labelled, written with resumption. */
import { ContainerdError } from "../containerd-port.ts";
import type { CallOptions, Connection } from "./connection.ts";
import {
  ContentService,
  type Info,
  type Status,
  WriteAction,
  WriteContentRequest,
  WriteContentResponse,
} from "./gen/containerd/services/content.ts";
import { digestOf, MAX_DOCUMENT_BYTES } from "./manifest.ts";

/** containerd takes 16 MiB a message; a megabyte keeps our own memory small. */
export const CHUNK_BYTES = 2 ** 20;
const EXCHANGE_TIMEOUT_MS = 120_000;

export interface BlobSource {
  readonly digest: string;
  readonly sizeBytes: number;
  /** Chunks from that offset to the end. */
  read(offset: number): AsyncIterable<Buffer>;
}

export class ContentStore {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** undefined: no such blob. @throws ContainerdError DigestMismatch when its bytes are not its digest's */
  async readDocument(digest: string, options: CallOptions): Promise<Buffer | undefined> {
    const info = (await this.infos([digest], options)).get(digest);
    if (info === undefined) return undefined;
    if (info.size > MAX_DOCUMENT_BYTES) throw new ContainerdError("InvalidImage", `${digest} is larger than ${MAX_DOCUMENT_BYTES} bytes`);
    const parts = await this.#connection.collect(ContentService.read, { digest, offset: 0, size: 0 }, options);
    const bytes = Buffer.concat(parts.map((part) => part.data));
    if (digestOf(bytes) !== digest) throw new ContainerdError("DigestMismatch", `the content store's ${digest} is damaged`);
    return bytes;
  }

  /** Of those that are there; one call however many. */
  async infos(digests: readonly string[], options: CallOptions): Promise<ReadonlyMap<string, Info>> {
    if (digests.length === 0) return new Map();
    return this.list(
      digests.map((digest) => `digest==${digest}`),
      options,
    );
  }

  /** @param filters containerd's own; none: all blobs */
  async list(filters: readonly string[], options: CallOptions): Promise<ReadonlyMap<string, Info>> {
    const answers = await this.#connection.collect(ContentService.list, { filters: [...filters] }, options);
    return new Map(answers.flatMap((answer) => answer.info.map((info) => [info.digest, info] as const)));
  }

  async ingests(options: CallOptions): Promise<readonly Status[]> {
    return (await this.#connection.unary(ContentService.listStatuses, { filters: [] }, options)).statuses;
  }

  async label(digest: string, labels: Readonly<Record<string, string>>, options: CallOptions): Promise<void> {
    const paths = Object.keys(labels).map((key) => `labels.${key}`);
    if (paths.length === 0) return;
    await this.#connection.unary(
      ContentService.update,
      { info: { digest, size: 0, labels: { ...labels } }, updateMask: { paths } },
      options,
    );
  }

  /**
   * Writes the blob unless it is there; continues what a killed writer left. containerd verifies the digest at the commit.
   * @param onBytes told how many bytes are there, after each chunk
   */
  async write(
    source: BlobSource,
    labels: Readonly<Record<string, string>>,
    onBytes: (there: number) => void,
    options: CallOptions,
  ): Promise<void> {
    const ref = `drover-import-${source.digest}`;
    const about = { ref, total: source.sizeBytes, expected: source.digest };
    const exchange = this.#connection.exchange<WriteContentRequest, WriteContentResponse>(ContentService.write, {
      ...options,
      timeoutMs: EXCHANGE_TIMEOUT_MS,
    });
    try {
      const before = await exchange.ask(WriteContentRequest.fromPartial({ action: WriteAction.STAT, ...about }));
      let offset = before.offset;
      onBytes(offset);
      for await (const data of source.read(offset)) {
        const after = await exchange.ask(WriteContentRequest.fromPartial({ action: WriteAction.WRITE, ...about, offset, data }));
        offset = after.offset;
        onBytes(offset);
      }
      await exchange.ask(WriteContentRequest.fromPartial({ action: WriteAction.COMMIT, ...about, offset, labels }));
    } catch (error) {
      if (!(error instanceof ContainerdError)) throw error;
      if (error.code === "AlreadyExists") return;
      // What does not add up to its digest must not be continued.
      if (error.code === "Failed") await this.#abort(ref, options);
      throw error;
    } finally {
      exchange.close();
    }
    onBytes(source.sizeBytes);
  }

  async #abort(ref: string, options: CallOptions): Promise<void> {
    try {
      await this.#connection.unary(ContentService.abort, { ref }, options);
    } catch (error) {
      if (!(error instanceof ContainerdError)) throw error;
    }
  }
}
