//go:build race

package sdkzap

const raceDetector = true
