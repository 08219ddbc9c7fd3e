/** Reads what operators send: kinds, names, selectors and numbers, refused with what would be right. Pure. */
import { didYouMean, type Kind, kindOf, kinds, parseSelector, type Selector } from "@drover/api";
import { Secret } from "@drover/lifecycle";
import { DryRunMode } from "@drover/proto";
import { Refused, refuse } from "../refusal.ts";

const MAX_TEXT = 1024;
const MAX_KUBECONFIG_BYTES = 64 * 1024;
const NAME = /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/;

/** @throws Refused UnknownKind */
export function kindFrom(text: string): Kind {
  const kind = kindOf(text);
  if (kind !== undefined) return kind;
  const known = Object.keys(kinds);
  throw new Refused(
    refuse(
      "UnknownKind",
      `there is no kind ${JSON.stringify(text.slice(0, 80))}${didYouMean(text, known) || `; kinds are ${known.join(", ")}`}`,
    ),
  );
}

/** @throws Refused InvalidRequest */
export function textFrom(field: string, text: string, isRequired: boolean): string {
  if (isRequired && text === "") throw new Refused(refuse("InvalidRequest", `${field} is required`));
  if (text.length > MAX_TEXT) throw new Refused(refuse("InvalidRequest", `${field} is longer than ${MAX_TEXT} characters`));
  return text;
}

/** As metadata.name of an object. @throws Refused InvalidRequest */
export function nameFrom(field: string, text: string): string {
  if (NAME.test(textFrom(field, text, true))) return text;
  const rule = "1 to 63 lower-case letters, digits, '-' or '.', starting and ending with a letter or digit";
  throw new Refused(refuse("InvalidRequest", `${field} ${JSON.stringify(text.slice(0, 80))} must be ${rule}`));
}

/** @throws Refused InvalidRequest, which tells nothing of what is in it */
export function kubeconfigFrom(bytes: Secret<Uint8Array>): Secret {
  const { length } = bytes.reveal();
  if (length === 0) throw new Refused(refuse("InvalidRequest", "kubeconfig is required"));
  if (length > MAX_KUBECONFIG_BYTES) {
    throw new Refused(refuse("InvalidRequest", `kubeconfig has ${length} bytes, at most ${MAX_KUBECONFIG_BYTES} are taken`));
  }
  try {
    return new Secret(new TextDecoder("utf-8", { fatal: true }).decode(bytes.reveal()));
  } catch {
    throw new Refused(refuse("InvalidRequest", "kubeconfig is no UTF-8 text"));
  }
}

/** Empty: all. @throws Refused InvalidSelector */
export function selectorFrom(text: string): Selector | undefined {
  if (text === "") return undefined;
  const parsing = parseSelector(text);
  if (parsing.ok) return parsing.selector;
  throw new Refused(refuse("InvalidSelector", `label_selector, column ${parsing.column}: ${parsing.message}`));
}

/** @throws Refused InvalidRequest */
export function isDryRun(mode: DryRunMode): boolean {
  switch (mode) {
    case DryRunMode.DRY_RUN_MODE_UNSPECIFIED:
    case DryRunMode.DRY_RUN_MODE_NONE:
      return false;
    case DryRunMode.DRY_RUN_MODE_SERVER:
      return true;
    case DryRunMode.UNRECOGNIZED:
    default:
      // Never taken for "no dry run": what a newer client asks for is unknown, and a change cannot be taken back.
      throw new Refused(refuse("InvalidRequest", `dry_run has the unknown value ${mode}`));
  }
}

/** @param value a whole number from 0; 0: the default. @throws Refused InvalidRequest */
export function countFrom(field: string, value: number, fallback: number, max: number): number {
  if (!Number.isSafeInteger(value) || value < 0 || value > max) {
    throw new Refused(refuse("InvalidRequest", `${field} must be 0 (for ${fallback}) to ${max}`));
  }
  return value === 0 ? fallback : value;
}
