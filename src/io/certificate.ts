/** What Node.js says of a certificate that nobody it trusts has signed. */
const UNTRUSTED =
  /self[- ]signed certificate|unable to (?:verify the first certificate|get (?:local )?issuer certificate)/i

/** What to do about it, in brackets; nothing about any other failure. */
export const trustCure = (said: string, otherwise = '') =>
  UNTRUSTED.test(said)
    ? ` (${otherwise}NODE_EXTRA_CA_CERTS=/path/ca.pem lets Node.js trust who signed it; set it where the worker is started, .env is read too late)`
    : ''

/** Without Node's own advice, which is of no use on a server. */
export const plainTrust = (said: string) => said.replace(/; if the root CA is installed locally.*/, '')
