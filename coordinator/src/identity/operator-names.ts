/** What an operator may be called: it goes into a certificate's URI and into the audit log. */

const OPERATOR_NAME = /^[a-z0-9]([-a-z0-9_.]{0,61}[a-z0-9])?$/;

export function isOperatorName(text: string): boolean {
  return OPERATOR_NAME.test(text);
}
