// Package ui is the web UI: its committed build, served from memory.
package ui

import "net/http"

// Handler serves the UI.
func Handler() http.Handler { return http.NotFoundHandler() }
