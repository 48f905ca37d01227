import type { Item } from '../records.ts'
import { checkCommands } from './check-commands.ts'
import { checkLogs } from './check-logs.ts'
import { checkSubscribers } from './check-subscribers.ts'
import type { Setting } from './history.ts'
import { History } from './history.ts'
import { Logs } from './logs.ts'

/** Judges a recorded run: everything that must not be is in the history's anomalies. */
export function analyse(setting: Setting, items: Iterable<Item>): History {
  const history = new History(setting, items)
  const logs = new Logs(history)
  checkLogs(history, logs)
  checkCommands(history, logs)
  checkSubscribers(history, logs)
  return history
}
