// @ts-check
// A colour for each class, on which white text can be read.

const COLOURS = [
  "#1d4ed8", "#b91c1c", "#047857", "#7e22ce", "#a16207", "#0e7490", "#be185d", "#4d7c0f", "#4338ca", "#c2410c",
];

/** @param {number} classId */
export function colour(classId) {
  return COLOURS[classId % COLOURS.length];
}
