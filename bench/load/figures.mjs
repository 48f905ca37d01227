/** @param {readonly number[]} values @param {number} q */
export function quantile(values, q) {
  return [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]
}

/** @param {readonly number[]} values */
export function median(values) {
  return quantile(values, 0.5)
}
