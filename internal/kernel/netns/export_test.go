package netns

// MaxInside is exported for the test of the bound.
const MaxInside = maxInside
