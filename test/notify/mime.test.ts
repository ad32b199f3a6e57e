import fc from 'fast-check'
import MailComposer from 'nodemailer/lib/mail-composer'
import { expect, test } from 'vitest'
import { written } from '../../src/notify/mime.ts'

const text = fc.oneof(
  fc.string({ maxLength: 300 }),
  fc.string({ unit: 'grapheme', maxLength: 300 }),
  fc
    .array(fc.constantFrom('\n', '\r\n', ' ', '\t', '.', '=', '=C3', 'é', '😀', 'word', 'x'.repeat(80)), {
      maxLength: 80,
    })
    .map((parts) => parts.join('')),
)

test('a mail has the bytes that the library would make of it', async () => {
  const said = (begin: string) => text.map((rest) => `${begin}${rest}`) // ours have both
  const whatever = fc.record({ text: said('Fraud'), html: said('<p>'), csv: fc.option(text), subject: text })
  await fc.assert(
    fc.asyncProperty(whatever, async ({ csv, ...said }) => {
      const attachments =
        csv === null ? [] : [{ filename: 'rows.csv', contentType: 'text/csv; charset=utf-8', content: csv }]
      const mail = () =>
        new MailComposer({
          ...{ ...said, attachments, from: 'Wörker <worker@example.com>', to: ['analyst@example.com'] },
          ...{ messageId: '<1@example.com>', date: new Date(0), textEncoding: 'quoted-printable', baseBoundary: 'b' },
          newline: 'windows',
        }).compile()
      expect(written(mail()).toString()).toBe((await mail().build()).toString())
    }),
  )
})
