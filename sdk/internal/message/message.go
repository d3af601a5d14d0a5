// Package message keeps values out of what is shown of errors.
package message

import "strings"

// maxText bounds what is shown of an error's text.
const maxText = 256

// Plain is the beginning of an error's text, up to what may be a value: a quote,
// a parenthesis, a number. A ? stands for the rest. Databases write values into
// their messages, and drivers what they were given; of the ways to mark them as
// such, each has its own.
func Plain(text string) string {
	end := strings.IndexAny(text, "'\"`“„”‘‚’«»([{<0123456789")
	if i := strings.Index(text, "column: "); i >= 0 && (end < 0 || i < end) { // of SQLite, which takes a string in double quotes for one
		end = i + len("column: ")
	}
	if end < 0 && len(text) <= maxText {
		return strings.ToValidUTF8(text, "")
	}
	if end < 0 || end > maxText {
		end = maxText
	}
	// What a value is a part of is one, too.
	return strings.ToValidUTF8(text[:strings.LastIndexAny(text[:end], " \t\n")+1], "") + "?"
}
