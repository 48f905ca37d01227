import type { Connection } from '../connection/connection.ts'
import { loggable } from '../log.ts'
import type { Message } from '../protocol/message.ts'

/**
 * What is done with a message on a channel that has no commands of its own. What it returns is the reply in the ack of a
 * client that speaks `channels.v1`; what it throws refuses the message.
 */
export type MessageHandler = (message: Message, connection: Connection) => unknown

/** Sends every message back to the connection that it came from. */
export const echo: MessageHandler = (message, connection) => {
  connection.send({ channel: message.channel, cmd: message.cmd, param: message.param })
}

/** Logs every message's channel and command, and nothing of its content. */
export const log: MessageHandler = (message, connection) => {
  connection.logger.info({ channel: loggable(message.channel), cmd: loggable(message.cmd) }, 'message')
}
