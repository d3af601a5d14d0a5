// Package sqltext reads SQL queries as far as telemetry needs it: a summary to
// group them by, and their text without the values in it. It is no parser: it
// knows strings, numbers, names and comments of the databases in use, and a few
// dozen keywords. Nothing it is given can make it fail.
package sqltext
