import { expect, test } from 'vitest'
import { attributeText } from './match'

test.each<[unknown, string]>([
  ['a "b"', 'a "b"'],
  [null, ''],
  [12, '12'],
  [-0, '-0'],
  [1e-7, '1e-07'],
  [1.5e21, '1.5e+21'],
  [1e-100, '1e-100'],
  [true, 'true'],
  [['a', 1, 2e-9, null], '["a",1,2e-09,null]'],
  [{ a: [1], 'b"': {} }, '{"a":[1],"b\\"":{}}'],
])('the text of %j is that of the store', (value, want) => expect(attributeText(value)).toBe(want))
