import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import treeSitter from '@vscode/tree-sitter-wasm'

export type Node = treeSitter.Node

const { Language, Parser } = treeSitter
await Parser.init()
const parser = new Parser()
const grammars = dirname(fileURLToPath(import.meta.resolve('@vscode/tree-sitter-wasm')))
parser.setLanguage(await Language.load(join(grammars, 'tree-sitter-powershell.wasm')))

/** The cmdlets and parameters that are the same in Windows PowerShell 5.1 and in pwsh 7. */
const KNOWN: Record<string, readonly string[]> = {
  'Get-Command': ['-ErrorAction'],
  'Join-Path': [],
  'Test-Path': ['-LiteralPath', '-PathType'],
  'Write-Host': ['-ForegroundColor'],
  'Select-String': ['-LiteralPath', '-Pattern', '-Quiet'],
  'ForEach-Object': [],
}

/** The tree of a script. */
export const parse = (text: string): Node => parser.parse(text)!.rootNode

export const nodes = (root: Node, type: string): Node[] => root.descendantsOfType(type).filter((node) => node !== null)

const nameOf = (command: Node) => command.text.split(/\s/, 1)[0]!

export const commands = (root: Node, name: string): Node[] =>
  nodes(root, 'command').filter((command) => nameOf(command) === name)

/** What keeps a script from running in Windows PowerShell 5.1 as in pwsh 7; nothing when it runs in both. */
export function faults(text: string): string[] {
  const root = parse(text)
  const found: string[] = []
  const fault = (what: string, { startPosition, text }: Node) =>
    found.push(`line ${startPosition.row + 1}: ${what}: ${text.trim().slice(0, 60)}`)
  // 5.1 reads a script without a mark as the machine's code page
  if (/[^\t\r\n -~]/.test(text)) fault('not ASCII', root)
  if (/`u\{/.test(text)) fault('newer than 5.1', root)
  const visit = (node: Node) => {
    if (node.isError || node.isMissing) fault('not PowerShell 5.1', node)
    if (node.type === 'pipeline_chain_tail') fault('newer than 5.1', node) // && or ||
    for (const child of node.children) if (child) visit(child)
  }
  visit(root)
  const own = nodes(root, 'function_name').map((name) => name.text)
  for (const command of nodes(root, 'command')) {
    const name = nameOf(command)
    if (name === 'docker' || own.includes(name)) continue
    const known = KNOWN[name]
    if (!known) fault('not known to be in both', command)
    else
      for (const parameter of nodes(command, 'command_parameter'))
        if (parameter.parent?.parent?.equals(command) && !known.includes(parameter.text))
          fault('not known to be in both', parameter)
  }
  return found
}
