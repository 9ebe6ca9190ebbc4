/**
 * What the page says of series that are not there, and of sharing that has ended.
 *
 * @module words
 */

export const AWAITED = "The address names a series that the server has not found yet: it is still reading its folders.";
export const UNSHARED = "Sharing has ended while the connection was lost. Share again for a new link.";
export const ENDED = "Sharing has ended: its link leads nowhere any more.";
export const ALONE = "You go on by yourself: nobody else sets what you see any more.";
export const GONE = "That series is not on the server any more.";
export const NO_SHARE = "Nobody shares anything under this link any more. Choose a series, or ask for a new link.";
export const UNKNOWN = "The address names a series that this server does not have. Choose one of these.";
