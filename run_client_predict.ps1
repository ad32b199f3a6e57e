# Runs the worker in a container with the settings of .env. Topics and database live in the volume `client-predict`.
# Extra arguments go to the worker, e.g.  .\run_client_predict.ps1 dead-letters
$ErrorActionPreference = 'Stop'

function Stop-With([string] $Message) {
    Write-Host $Message -ForegroundColor Red
    exit 1
}

if (-not (Get-Command docker -ErrorAction SilentlyContinue)) {
    Stop-With 'Docker is not installed, or not on the PATH. Install Docker Desktop (Windows, macOS) or Docker Engine (Linux), then open a new terminal.'
}
$envFile = Join-Path $PSScriptRoot '.env'
if (-not (Test-Path -LiteralPath $envFile -PathType Leaf)) {
    Stop-With "There is no $envFile. Copy .env.example to .env and fill in PRODUCER_URL, MODEL_URL, SMTP_URL, ALERT_FROM and ALERT_TO."
}

# Windows PowerShell 5.1 turns what a program writes to its error stream into an exception while this is 'Stop'.
$ErrorActionPreference = 'Continue'
docker info *> $null
if ($LASTEXITCODE -ne 0) {
    Stop-With 'Docker does not answer. Start it (Docker Desktop, or: sudo systemctl start docker), then try again.'
}
docker image inspect client-predict *> $null
if ($LASTEXITCODE -ne 0) {
    Stop-With 'The image client-predict is not there yet. Run .\build_client_predict.ps1 first.'
}

# A terminal gets readable lines and Ctrl-C; a pipe or a scheduler gets JSON.
$terminal = @()
if (-not [Console]::IsInputRedirected -and -not [Console]::IsOutputRedirected) {
    $terminal = @('--interactive', '--tty')
}
$command = @()
if ($args.Count -gt 0) {
    $command = @('node', 'src/main.ts') + $args
}
docker run --rm @terminal --env-file "$envFile" --volume client-predict:/app/data client-predict @command
exit $LASTEXITCODE
