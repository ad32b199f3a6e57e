import { encode as base64, wrap as folded } from 'nodemailer/lib/base64'
import type MimeNode from 'nodemailer/lib/mime-node'
import { encode as quoted, wrap } from 'nodemailer/lib/qp'

/**
 * A mail as it goes over the wire, of texts that are all at hand. The library's own way is a dozen streams and as many rounds of
 * the event loop, which took more time than all the rest of an alarm.
 */
export const written = (mail: MimeNode): Buffer => Buffer.from(partOf(mail).replace(/(?<!\r)\n/g, '\r\n'))

function partOf(node: MimeNode): string {
  const head = `${node.buildHeaders()}\r\n\r\n`
  if (!node.multipart) return head + bodyOf(node)
  const parts = node.childNodes.map((child) => `--${node.boundary}\r\n${partOf(child)}`)
  return `${head}${parts.join('\r\n')}\r\n--${node.boundary}--\r\n`
}

function bodyOf(node: MimeNode): string {
  const text = String(node.content ?? '')
  const encoding = node.getTransferEncoding()
  if (encoding === 'quoted-printable') return wrap(quoted(text))
  return encoding === 'base64' ? folded(base64(text)) : text
}
