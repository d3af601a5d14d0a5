//go:build !race

package observer

const raceDetector = false
