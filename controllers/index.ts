// The public surface of the controllers, one name a line.
export type { ChatRoomsOptions, RoomRequest } from './chat-room.ts'
export { chatRoomChannel, chatRooms } from './chat-room.ts'
export type { ConnectOptions } from './connect.ts'
export { connect } from './connect.ts'
export type { NotificationsOptions } from './notifications.ts'
export { notifications, notificationsChannel } from './notifications.ts'
export type { SecureUserOptions } from './secure-user.ts'
export { secureUser, secureUserChannel } from './secure-user.ts'
