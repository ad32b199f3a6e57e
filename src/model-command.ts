import { userInfo } from 'node:os'
import { openBeside } from './beside.ts'
import { modelStatus, promotedLine } from './commands/model.ts'
import { ConfigError } from './config/read.ts'
import { championOf, modelName, stampOf } from './models.ts'
import { careRules, openReviews } from './wiring-desk.ts'

/** `npm run model`: says which model judges, makes the challenger the champion, takes that back. */
export async function modelCommand(action: string, name = ''): Promise<number> {
  await using beside = await openBeside()
  const { config, log, topics, open } = beside
  const champion = championOf(config, log, topics)
  if (!champion) {
    if (action !== 'status')
      throw new ConfigError(['CHALLENGER_URL: is not set, wants the model server to compare with'])
    console.log(`${modelName(config) ?? 'a model without a name (MODEL_NAME)'} judges; CHALLENGER_URL names no other`)
    return 0
  }
  const by = userInfo().username
  if (action === 'promote') console.log(promotedLine(await champion.promote(name, by)))
  else if (action === 'rollback') console.log(promotedLine(await champion.rollback(by)))
  else {
    const judgements = open.adopt(await openReviews(config), (r) => r.close())
    const stamped = (one: string) => stampOf(config, one) ?? ''
    console.log((await modelStatus({ champion, judgements, rules: careRules(config), stamped })).join('\n'))
  }
  return 0
}
