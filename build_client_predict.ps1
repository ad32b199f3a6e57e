# Builds the image `client-predict`. Extra arguments go to `docker build`, e.g. --build-arg NODE_IMAGE=...
$ErrorActionPreference = 'Stop'

function Stop-With([string] $Message) {
    Write-Host $Message -ForegroundColor Red
    exit 1
}

if (-not (Get-Command docker -ErrorAction SilentlyContinue)) {
    Stop-With 'Docker is not installed, or not on the PATH. Install Docker Desktop (Windows, macOS) or Docker Engine (Linux), then open a new terminal.'
}

docker build --tag client-predict @args "$PSScriptRoot"
if ($LASTEXITCODE -ne 0) {
    Stop-With 'The build failed, see above. If it says that it cannot connect, start Docker first.'
}
Write-Host 'Built client-predict. Next: copy .env.example to .env, fill it in, and run .\run_client_predict.ps1'
